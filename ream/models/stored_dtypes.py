"""Facts about data types by their names in safetensors headers, and whether stored bytes are numbers; without torch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stored:
    """A data type.

    Attributes:
        torch: its name there.
        bytes: of a value.
        beyond: the lowest bits, without the sign, of a value that is no finite number; None where all are.
    """

    torch: str
    bytes: int
    beyond: int | None = None


STORED: dict[str, Stored] = {
    "F64": Stored("float64", 8, 0x7FF0_0000_0000_0000),
    "F32": Stored("float32", 4, 0x7F80_0000),
    "F16": Stored("float16", 2, 0x7C00),
    "BF16": Stored("bfloat16", 2, 0x7F80),
    "F8_E4M3": Stored("float8_e4m3fn", 1, 0x7F),  # which has no infinity
    "F8_E5M2": Stored("float8_e5m2", 1, 0x7C),
    "I64": Stored("int64", 8),
    "I32": Stored("int32", 4),
    "I16": Stored("int16", 2),
    "I8": Stored("int8", 1),
    "U8": Stored("uint8", 1),
    "BOOL": Stored("bool", 1),
}


def is_finite(block: bytes | bytearray, dtype: str) -> bool:
    """Whether all values of a block of a tensor are numbers: no NaN and, of types that have it, no infinity.

    In all these types greater magnitudes have greater bits and those beyond the finite ones the greatest. So the
    greatest of the bits tells it for negative values, whose sign is the highest bit, and the greatest of the bits as
    signed integers for the others; unlike a mask of every value, neither takes memory.

    Args:
        block: whole elements, little-endian.
        dtype: of STORED.
    """
    kind = STORED[dtype]
    if kind.beyond is None or not block:
        return True
    unsigned = np.frombuffer(block, f"<u{kind.bytes}")
    sign = 1 << (8 * kind.bytes - 1)
    return int(unsigned.max()) < sign | kind.beyond and int(unsigned.view(f"<i{kind.bytes}").max()) < kind.beyond
