"""From a params file to the checked tree; what is not allowed is told in one line."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ream.errors import UserError, unknown
from ream.params.methods import Grouping, Method, Refit, Statistics
from ream.params.model import Compute, Merge, Model
from ream.params.report import Import
from ream.params.run import Export, Run
from ream.params.section import Section
from ream.params.sources import BuiltinSource, Calibration, FilesSource, HubSource, TokensSource
from ream.params.suites import Evaluation, Suite
from ream.params.tree import Params


def load_params(path: str | Path = "params.yaml") -> Params:
    """Parse a params file.

    Raises:
        UserError: the file is missing or not YAML, or a key or value is not allowed; names the nearest valid key.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; run from the repository's root or name the file with --params"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse_params(tree, str(path))


def parse_params(tree: Any, where: str = "params") -> Params:
    """Validate a tree of plain values (see `load_params`)."""
    if not isinstance(tree, dict):
        raise UserError(f"{where} must be a table of sections")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    details = error.errors()
    first = next((item for item in details if item["type"] == "extra_forbidden"), details[0])
    path = [str(part) for part in first["loc"]]
    kind = path.pop(2) if path[:1] == ["sources"] and len(path) > 3 else None  # pydantic puts the source's kind there
    if first["type"] == "extra_forbidden":
        names = _siblings(path, kind)
        return str(unknown("key", ".".join(path), names, f"'{'.'.join(path[:-1]) or 'the top level'}'"))
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{'.'.join(path)}: {message[0].lower()}{message[1:]}{shown}"


def _siblings(path: list[str], kind: str | None) -> list[str]:
    """Full names of the keys allowed beside the last part of a path; kind: of the source that the path is in."""
    sources: dict[str | None, type[Section]] = {
        "builtin": BuiltinSource, "hub": HubSource, "files": FilesSource, "tokens": TokensSource,
    }  # fmt: skip
    sections: dict[str, type[Section]] = {
        "model": Model, "compute": Compute, "calibration": Calibration, "statistics": Statistics,
        "grouping": Grouping, "methods": Method, "suites": Suite, "evaluation": Evaluation, "run": Run,
        "merge": Merge, "exports": Export, "imports": Import,
    }  # fmt: skip
    section = sources[kind] if kind else sections[path[0]] if len(path) > 1 else Params
    if path[:1] == ["methods"] and path[2:3] == ["refit"] and len(path) > 3:
        section = Refit
    prefix = ".".join(path[:-1])
    return [f"{prefix}.{key}" if prefix else key for key in section.model_fields]
