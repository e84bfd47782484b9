"""Facts about dtypes against torch's own, and which stored values are numbers, for every value of 8 and 16 bits."""

import numpy as np
import pytest
import torch

from ream.models.dtypes import DTYPES
from ream.models.stored_dtypes import STORED, is_finite

FLOATS = [name for name, dtype in DTYPES.items() if dtype.is_floating_point]


def finite_by_torch(raw, dtype):
    """One answer a value."""
    return torch.isfinite(torch.frombuffer(bytearray(raw), dtype=DTYPES[dtype]).to(torch.float64)).tolist()


def alone(raw, dtype):
    """What is said of a block of each value alone."""
    size = STORED[dtype].bytes
    return [is_finite(raw[begin : begin + size], dtype) for begin in range(0, len(raw), size)]


def test_sizes_and_kinds_are_those_of_torch():
    assert {name: kind.bytes for name, kind in STORED.items()} == {
        name: dtype.itemsize for name, dtype in DTYPES.items()
    }
    assert [name for name, kind in STORED.items() if kind.beyond is not None] == FLOATS


@pytest.mark.parametrize("dtype", [name for name in FLOATS if STORED[name].bytes < 4])
def test_every_value_of_few_bits_is_told_as_torch_does(dtype):
    bits = 8 * STORED[dtype].bytes
    raw = np.arange(1 << bits, dtype=f"<u{STORED[dtype].bytes}").tobytes()
    assert alone(raw, dtype) == finite_by_torch(raw, dtype)


@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_values_at_both_ends_of_the_finite_ones(dtype):
    numbers = np.float32 if dtype == "F32" else np.float64
    largest, least = np.finfo(numbers).max, np.finfo(numbers).smallest_subnormal
    values = np.array([0.0, -0.0, least, -least, 1.5, largest, -largest, np.inf, -np.inf, np.nan, -np.nan], numbers)
    assert alone(values.tobytes(), dtype) == [True] * 7 + [False] * 4 == finite_by_torch(values.tobytes(), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [0, 1])
def test_one_value_among_many_is_found_wherever_it_lies(dtype, sign, rng):
    kind = STORED[dtype]
    bits = rng.integers(0, kind.beyond, 300).astype(f"<u{kind.bytes}")
    bits |= (rng.integers(0, 2, 300) << (8 * kind.bytes - 1)).astype(bits.dtype)
    assert is_finite(bits.tobytes(), dtype)
    for place in (0, 123, 299):
        broken = bits.copy()
        broken[place] = kind.beyond | sign << (8 * kind.bytes - 1)
        assert not is_finite(bytearray(broken.tobytes()), dtype)


@pytest.mark.parametrize("dtype", ["I64", "I32", "I16", "I8", "U8", "BOOL"])
def test_integers_are_always_numbers(dtype):
    assert is_finite(b"\xff" * 16, dtype)


@pytest.mark.parametrize("dtype", STORED)
def test_a_tensor_without_values_holds_none_that_is_no_number(dtype):
    assert is_finite(b"", dtype)
