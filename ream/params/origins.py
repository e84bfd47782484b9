"""Where every setting has its value from: a line of a params file, or the default."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ream.machine.documents import MOST_YAML_BYTES, parse_yaml, read_text
from ream.machine.shipped import default_settings, presets
from ream.params.overlay import DEEPER, DEFAULT, layers, merged
from ream.params.reading import parse_params

Keys = tuple[str, ...]  # the keys that lead to a setting


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        keys: section, key, and further keys.
        value: a plain value or a list.
        origin: ``default``, or file and line.
    """

    keys: Keys
    value: Any
    origin: str


def settings_of(path: Path) -> list[Setting]:
    """Every setting of a params file, with those that it takes over and those that are left to their default.

    Raises:
        UserError: see `load_params`.
    """
    files = layers(path)
    params = parse_params(merged(files), str(path))
    lines = [(_name(layer.path), _lines(layer.path)) for layer in reversed(files)]
    return [Setting(keys, value, _origin(keys, lines)) for keys, value in _leaves(params.model_dump(mode="json"))]


def _origin(keys: Keys, files: list[tuple[str, dict[Keys, int]]]) -> str:
    """The line that gives a setting, in the topmost file that gives what is merged as a whole; else the default."""
    unit = keys[: 3 if keys[0] in DEEPER else 2]
    for name, lines in files:
        if unit in lines:
            return f"{name}:{lines[keys]}" if keys in lines else "default"
    return "default"


def _name(path: Path) -> str:
    """A file as a person knows it: its path, or the name of what ships."""
    shipped = {default_settings().resolve(): DEFAULT} | {file.resolve(): name for name, file in presets().items()}
    return shipped.get(path.resolve(), str(path))


def _leaves(tree: dict[str, Any], keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Plain values, lists and empty tables of a tree, with the keys that lead to them."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*keys, str(key)))
        else:
            yield (*keys, str(key)), value


def _lines(path: Path) -> dict[Keys, int]:
    """The line of every key of a YAML file, counted from 1, by the keys that lead to it."""
    import yaml

    text = read_text(path, MOST_YAML_BYTES)
    parse_yaml(text, str(path))  # which refuses what would take long
    found: dict[Keys, int] = {}

    def note(node: Any, keys: Keys) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                note(value, keys)
                continue
            found[(*keys, str(key.value))] = key.start_mark.line + 1
            note(value, (*keys, str(key.value)))

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    note(root, ())
    return found
