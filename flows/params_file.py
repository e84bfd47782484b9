"""New values for params.yaml, in a file whose comments and order stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.run_settings import check_run_settings
from ream.errors import UserError
from ream.machine.files import replacing
from ream.params import load_params, parse_params


def parse_assignments(texts: list[str]) -> dict[str, Any]:
    """Names and values of texts of the form ``NAME=VALUE``; values are read as YAML.

    Raises:
        UserError: a text has no name or no ``=``.
    """
    import yaml

    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UserError(f"'{text}' is not NAME=VALUE, as in mixes.balanced.code=0.5")
        values[name.strip()] = yaml.safe_load(value)
    return values


def change_params(path: Path, values: Mapping[str, Any]) -> None:
    """Write new values into a params file as DVC does (`flows.params_form`). Nothing is written unless all are valid.

    Entries that take over a changed entry by a YAML merge (``<<``) keep the values that they had.

    Args:
        path: the params file.
        values: new values by dotted name.

    Raises:
        UserError: the file is not YAML or has no such name, or would not be valid with the new values; or a run cannot
            change that setting (`flows.run_settings`).
    """
    from dvc.utils.serialize import ParseError, dumps_yaml, parse_yaml, parse_yaml_for_update

    text = path.read_text(encoding="utf-8")
    try:
        tree, wanted = parse_yaml_for_update(text, path), parse_yaml(text, path)
    except ParseError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{path} is not valid YAML: {reason}; correct it first") from None
    for name, value in values.items():
        for root in (tree, wanted):
            _set(root, name.split("."), value, name, path)
    check_run_settings(load_params(path), parse_params(wanted, str(path)), path.parent)
    written = parse_yaml(dumps_yaml(tree), path)
    if written != wanted:  # other entries take over a changed one: write their former values into them
        for parts, value in _differences(written, wanted):
            _set(tree, parts, value, ".".join(map(str, parts)), path)
    with replacing(path) as temporary:
        temporary.write_text(dumps_yaml(tree), encoding="utf-8")


def _set(tree: Any, parts: list[Any], value: Any, name: str, path: Path) -> None:
    """Set the value at a path of keys.

    Args:
        tree: nested mappings.
        parts: the keys that lead to the value.
        value: the new value.
        name: dotted name of the value, for errors.
        path: the params file, for errors.

    Raises:
        UserError: a key before the last does not exist, or leads to something that is not a mapping.
    """
    for part in parts[:-1]:
        key = _key(tree, part)
        if not isinstance(tree, dict) or key not in tree:
            raise UserError(f"{path} has no '{name}': there is no '{part}' to change; use a name that the file has")
        tree = tree[key]
    if not isinstance(tree, dict):
        raise UserError(f"{path} has no '{name}': it names a key of a single value; use a name that the file has")
    tree[_key(tree, parts[-1])] = value


def _key(tree: Any, part: Any) -> Any:
    """A part of a dotted name as a key: a string, or an integer in mappings from numbers of experts."""
    numbers = isinstance(tree, dict) and any(isinstance(key, int) for key in tree)
    return int(part) if numbers and str(part).isdigit() else part


def _differences(current: Any, wanted: Any, parts: tuple[Any, ...] = ()) -> list[tuple[list[Any], Any]]:
    """Path and wanted value wherever two trees differ; mappings with different keys differ as a whole."""
    if isinstance(current, dict) and isinstance(wanted, dict) and current.keys() == wanted.keys():
        return [pair for key in wanted for pair in _differences(current[key], wanted[key], (*parts, key))]
    return [] if current == wanted else [(list(parts), wanted)]
