"""Data types by their names in safetensors headers, and a check that stored bytes are finite; without torch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stored:
    """A data type of safetensors.

    Attributes:
        torch: its name in torch.
        bytes: size of a value.
        beyond: the lowest bit pattern, without the sign, that is not a finite number; None where every pattern is one.
    """

    torch: str
    bytes: int
    beyond: int | None = None


STORED: dict[str, Stored] = {
    "F64": Stored("float64", 8, 0x7FF0_0000_0000_0000),
    "F32": Stored("float32", 4, 0x7F80_0000),
    "F16": Stored("float16", 2, 0x7C00),
    "BF16": Stored("bfloat16", 2, 0x7F80),
    "F8_E4M3": Stored("float8_e4m3fn", 1, 0x7F),  # it has no infinity
    "F8_E5M2": Stored("float8_e5m2", 1, 0x7C),
    "I64": Stored("int64", 8),
    "I32": Stored("int32", 4),
    "I16": Stored("int16", 2),
    "I8": Stored("int8", 1),
    "U8": Stored("uint8", 1),
    "BOOL": Stored("bool", 1),
}


def is_finite(block: bytes | bytearray, dtype: str) -> bool:
    """Whether no value of a block of a tensor is NaN or infinite.

    In all these types a larger magnitude has a larger bit pattern, and NaN and infinity have the largest. So the
    maximum of the patterns as unsigned integers is decisive for negative values, whose sign is the highest bit, and the
    maximum as signed integers for the others. Unlike a mask over all values, neither takes memory.

    Args:
        block: whole elements, little-endian.
        dtype: a key of STORED.
    """
    kind = STORED[dtype]
    if kind.beyond is None or not block:
        return True
    unsigned = np.frombuffer(block, f"<u{kind.bytes}")
    sign = 1 << (8 * kind.bytes - 1)
    return int(unsigned.max()) < sign | kind.beyond and int(unsigned.view(f"<i{kind.bytes}").max()) < kind.beyond
