"""Comparison of answers by the rules of LiveCodeBench (lcb_runner/evaluation/testing_util.py)."""

import json
from decimal import Decimal, InvalidOperation


def same_output(printed: str, expected: str) -> bool:
    """Whether printed and expected output agree line by line, as stripped text or else as decimal numbers.

    Numbers are compared exactly: 1.0 equals 1.00, and 50000000000000000 does not equal 50000000000000001.
    """
    ours, theirs = _lines(printed), _lines(expected)
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def same_value(returned: str, expected: str) -> bool:
    """Whether two values, both as JSON, are equal in Python, where 1 equals 1.0 and True."""
    try:
        return bool(json.loads(returned) == json.loads(expected))
    except (ValueError, RecursionError):
        return False


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return [Decimal(word) for word in one.split()] == [Decimal(word) for word in other.split()]
    except InvalidOperation:  # not a number, or sNaN, which cannot be compared
        return False
