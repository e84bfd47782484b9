"""Bytes of the dtypes that the estimates count in."""

DOUBLE = 8  # float64
SINGLE = 4  # float32
HALF = 2  # bfloat16
