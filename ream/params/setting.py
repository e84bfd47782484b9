"""Single settings, written as SECTION.KEY=VALUE on a command line, put into the tree of a params file."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ream.errors import UserError, unknown
from ream.machine.documents import parse_yaml
from ream.params.tree import NAMED_ENTRIES, Params

OPTION = "--set"


def parse_setting(text: str) -> tuple[str, Any]:
    """The dotted path and the value of a setting such as ``compute.threads=4``; the value is read as YAML.

    Raises:
        UserError: the text has no path of at least two parts, no "=", or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    parts = path.split(".")
    if not equals or len(parts) < 2 or not all(parts):
        near = difflib.get_close_matches(parts[-1], keys := _keys(), n=1, cutoff=0.5)
        hint = f"; did you mean {keys[near[0]]}={value or 'VALUE'}?" if near else ", as in compute.threads=4"
        raise UserError(f"{OPTION}: '{text}' is not SECTION.KEY=VALUE{hint}")
    return path, parse_yaml(value, f"{OPTION}: the value of '{text}'")


def with_settings(tree: Mapping[str, Any], settings: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The tree of a params file with some of its values replaced; sections and keys are checked by `parse_params`.

    Args:
        tree: sections of plain values; it is not changed.
        settings: dotted paths and values.

    Raises:
        UserError: a path leads through an entry that does not exist, or through a plain value.
    """
    changed = dict(tree)
    for path, value in settings:
        changed = _replaced(changed, path.split("."), value, "")
    return changed


def _replaced(tree: Mapping[str, Any], parts: list[str], value: Any, section: str) -> dict[str, Any]:
    """A copy of a table with a value at a path below it; tables that YAML aliases share are not changed."""
    key, rest = _step(tree, parts)
    name = f"{section}.{key}" if section else str(key)
    if not rest:
        return {**tree, key: value}
    if key not in tree and section in NAMED_ENTRIES:
        raise unknown(f"{OPTION}: key", name, [f"{section}.{entry}" for entry in tree], f"'{section}'")
    inner = tree.get(key, {})
    if not isinstance(inner, dict):
        raise UserError(f"{OPTION}: {name} is a value, not a table, so {'.'.join((name, *rest))} does not exist")
    return {**tree, key: _replaced(inner, rest, value, name)}


def _step(tree: Mapping[str, Any], parts: list[str]) -> tuple[Any, list[str]]:
    """The key that a path begins with, and the parts after it; names of entries may contain dots."""
    keys = {str(key): key for key in tree}
    for count in range(len(parts), 0, -1):
        if (name := ".".join(parts[:count])) in keys:
            return keys[name], parts[count:]
    return parts[0], parts[1:]


def _keys() -> dict[str, str]:
    """The last part of every setting with a fixed path, to the whole path."""
    sections = {name: field.annotation for name, field in Params.model_fields.items()}
    return {key: f"{name}.{key}" for name, section in sections.items() for key in getattr(section, "model_fields", {})}
