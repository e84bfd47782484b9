"""Parametrised tests of which some values stand for all in the default suite; those with the others are slow tests."""

from collections.abc import Callable, Iterable

import pytest

SLOW = pytest.mark.slow


def some_slow(values: Iterable, keep: Iterable | Callable[[object], bool]) -> list:
    """Values for `pytest.mark.parametrize`, all but some with the mark `slow`.

    Args:
        values: one for each run of the test; a tuple is several arguments.
        keep: the values that run by default, or a function that tells them.
    """
    values = list(values)
    kept = [value for value in values if keep(value)] if callable(keep) else list(keep)
    missing = [value for value in kept if value not in values]
    assert kept, "the default suite would run none"
    assert not missing, f"not among the values: {missing}"
    return [
        value if value in kept else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=SLOW)
        for value in values
    ]
