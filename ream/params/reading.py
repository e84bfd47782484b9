"""From a params file to the checked tree; a violation is reported in one line."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ream.errors import UserError, unknown
from ream.params.endpoint import Endpoint
from ream.params.methods import Candidate, Grouping, Method, Statistics
from ream.params.model import Compute, Merge, Model
from ream.params.overlay import EXTENDS, layers, merged, read_params
from ream.params.refit import Refit
from ream.params.report import Import
from ream.params.run import Export, Run
from ream.params.search import Search
from ream.params.section import Section
from ream.params.sources import BuiltinSource, Calibration, FilesSource, HubSource, TokensSource
from ream.params.suites import Evaluation, Generation, Suite
from ream.params.tree import Params

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def load_params(path: str | Path = "params.yaml") -> Params:
    """The settings of a params file.

    Raises:
        UserError: the file, or one that it extends, is missing or not YAML, or a key or value is not allowed; names the
            nearest valid key.
    """
    return parse_params(read_tree(path), str(path))


def read_tree(path: str | Path) -> Any:
    """The content of a params file, with what it extends, as plain values, not yet checked.

    Raises:
        UserError: see `ream.params.overlay.layers`.
    """
    tree = read_params(path)
    return merged(layers(Path(path))) if isinstance(tree, dict) and EXTENDS in tree else tree


def parse_params(tree: Any, where: str = "params") -> Params:
    """The settings of a tree of plain values.

    Args:
        tree: sections of params.yaml.
        where: the name of the tree in errors.

    Raises:
        UserError: a key or value is not allowed; names the nearest valid key.
    """
    if not isinstance(tree, dict):
        raise UserError(f"{where} is not a table of sections such as model and run")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {_first(error, tree)}") from None


def _first(error: ValidationError, tree: dict[str, Any]) -> str:
    """The first error in one line; an unknown key, which may be why another is missing, comes before all others."""
    details = error.errors()
    first = next((item for item in details if item["type"] == "extra_forbidden"), details[0])
    path, kind = _location(first, tree)
    if first["type"] == "extra_forbidden":
        names = _siblings(path, kind)
        return str(unknown("key", ".".join(path), names, f"'{'.'.join(path[:-1]) or 'the top level'}'"))
    # a value that fits no type of a union has an error for each of them
    missing = [str(item["loc"][0]) for item in details if item["type"] == "missing" and len(item["loc"]) == 1]
    if len(missing) > 1 and first["type"] == "missing":
        return (
            f"the sections {', '.join(missing)} are missing; write them, or take what is not written from the settings "
            "that ream ships, with a line `extends: default` (docs/params.md)"
        )
    messages = [item["msg"].removeprefix("Value error, ") for item in details if _location(item, tree)[0] == path]
    message = ", or ".join(message[0].lower() + message[1:] for message in messages)
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{'.'.join(path)}: {message}{shown}"


def _location(item: "ErrorDetails", tree: dict[str, Any]) -> tuple[list[str], str | None]:
    """The dotted path of an error, and the kind of the source that it is in.

    pydantic puts the kind of a source and the types of a union between the keys.
    """
    parts = list(item["loc"])
    kind = str(parts.pop(2)) if parts[:1] == ["sources"] and len(parts) > 3 else None
    path: list[str] = []
    inner: Any = tree
    for part in parts:
        known = (isinstance(inner, dict) and part in inner) or (isinstance(inner, list) and part in range(len(inner)))
        if not known and isinstance(part, str) and item["type"] != "missing":
            continue  # a type of a union
        inner = inner[part] if known else None
        path.append(str(part))
    return path, kind


def _siblings(path: list[str], kind: str | None) -> list[str]:
    """The dotted paths allowed in place of a path, where ``kind`` is the kind of the source that it is in."""
    sources: dict[str | None, type[Section]] = {
        "builtin": BuiltinSource, "hub": HubSource, "files": FilesSource, "tokens": TokensSource,
    }  # fmt: skip
    sections: dict[str, type[Section]] = {
        "model": Model, "compute": Compute, "calibration": Calibration, "statistics": Statistics,
        "grouping": Grouping, "methods": Method, "suites": Suite, "evaluation": Evaluation, "run": Run,
        "merge": Merge, "exports": Export, "imports": Import, "search": Search,
    }  # fmt: skip
    section = sources[kind] if kind else sections[path[0]] if len(path) > 1 else Params
    if path[:1] == ["methods"] and path[2:3] == ["refit"] and len(path) > 3:
        section = Refit
    if path[:1] == ["methods"] and path[2:3] == ["candidates"] and len(path) > 4:
        section = Candidate
    if path[:1] == ["suites"] and path[2:3] == ["generation"] and len(path) > 4:
        section = Generation
    if path[:2] == ["evaluation", "endpoint"] and len(path) > 2:
        section = Endpoint
    prefix = ".".join(path[:-1])
    return [f"{prefix}.{key}" if prefix else key for key in section.model_fields]
