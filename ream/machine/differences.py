"""Which values differ between two nested tables of plain values."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

SHOWN = 40  # characters of a value in a message: enough for most, and a digest keeps the line readable


class Difference(NamedTuple):
    """A value that differs: its dotted name, and both values as a message shows them."""

    name: str
    before: str
    now: str


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """The values that differ, sorted by name; tables are compared value by value, lists as a whole."""
    old, new = _flat(json.loads(json.dumps(before))), _flat(json.loads(json.dumps(now)))
    return [
        Difference(name, _shown(old.get(name)), _shown(new.get(name)))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first value that differs, by its dotted name and with both values; "" if none differs."""
    for first in differences(before, now):
        return f"{first.name} was {first.before} and is {first.now} now"
    return ""


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted names."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _shown(value: Any) -> str:
    """A value, shortened for a message."""
    text = "not set" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
