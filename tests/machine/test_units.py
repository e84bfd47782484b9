"""Sizes as people read them."""

import pytest

from ream.machine.units import bytes_shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0.0 kB"),
        (900, "0.9 kB"),
        (1_000_000, "1.0 MB"),
        (99_940_000, "99.9 MB"),
        (100_000_000, "0.10 GB"),
        (1_234_567_000_000, "1,234.57 GB"),
    ],
)
def test_sizes_are_told_in_the_unit_that_tells_them_apart(size, shown):
    assert bytes_shown(size) == shown
