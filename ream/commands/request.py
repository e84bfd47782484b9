"""What the command line asks for, as one checked tree of parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ream.errors import UserError
from ream.params import Params, load_params, parse_params

DEFAULT_GROUP_SIZE = 16


@dataclass(frozen=True)
class Request:
    """What the command line asks for; None leaves a setting to the params file.

    Attributes:
        model: hub id or folder. out: folder to write.
        experts: K. method: of the params file.
        mix: ratios ``a=0.3,b=0.7`` or the name of a mix.
        calibration: Parquet file of own tokens.
        group_size: C.
        overrides: section to key to value.
    """

    model: str
    out: Path
    experts: int
    method: str
    mix: str | None
    calibration: Path | None
    group_size: int | None
    overrides: Mapping[str, Mapping[str, Any]]


class Cell(NamedTuple):
    """One cell of the graph: what names a recipe."""

    mix: str
    method: str
    experts: int


def sources_of(params: Params, mix: str) -> list[str]:
    """The sources that a mix takes anything of."""
    return [source for source, ratio in params.mix(mix).items() if ratio > 0]


def requested(request: Request, params_path: Path) -> tuple[Params, str]:
    """The params of a request, and the name of its mix.

    Raises:
        UserError: an unknown method, mix or source, a ratio that is no number, or own tokens that can't be read.
    """
    base = load_params(params_path)
    method = base.method(request.method)
    tree = yaml.safe_load(params_path.read_text(encoding="utf-8"))
    tree["model"] = {**tree["model"], "path": request.model}
    for section, values in request.overrides.items():
        tree = _with(tree, section, {key: value for key, value in values.items() if value is not None})
    mix, ratios = _mix(request, base)
    if request.calibration is not None:
        wanted = {source: source if request.mix else None for source in ratios}
        tree["sources"] = {
            source: {"kind": "tokens", "path": str(request.calibration), "source": rows}
            for source, rows in wanted.items()
        }
    tree["mixes"] = {mix: ratios}
    tree["run"] = {
        "sources": list(ratios),
        "mixes": [mix],
        "one_shot": [] if method.sequential else [request.method],
        "sequential": [request.method] if method.sequential else [],
        "experts": [request.experts],
        "rank": [mix],
    }
    tree["exports"] = {}
    tree["grouping"] = {"group_size": _group_size(request, base)}
    if request.calibration is not None and request.mix is None:  # pooled: all that is there
        from ream.calibration.corpus import read_corpus

        tree = _with(tree, "calibration", {"sequences": len(read_corpus(request.calibration).sequences)})
    return parse_params(tree, f"{params_path} with the options given"), mix


def _mix(request: Request, base: Params) -> tuple[str, dict[str, float]]:
    if request.mix is None:
        return ("own", {"own": 1.0}) if request.calibration is not None else ("balanced", base.mix("balanced"))
    if "=" not in request.mix:
        return request.mix, dict(base.mix(request.mix))
    ratios: dict[str, float] = {}
    for part in request.mix.split(","):
        source, _, number = (word.strip() for word in part.partition("="))
        if source in ratios:
            raise UserError(f"--mix: {source} is given twice; give each source one ratio")
        try:
            ratios[source] = float(number)
        except ValueError:
            raise UserError(f"--mix: '{part}' is not SOURCE=NUMBER, as in general=0.3,math=0.7") from None
    return "custom", ratios


def _group_size(request: Request, base: Params) -> int:
    if request.group_size is not None:
        return request.group_size
    table = base.grouping.group_size
    return table if isinstance(table, int) else table.get(request.experts, DEFAULT_GROUP_SIZE)


def _with(tree: dict[str, Any], section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {**tree, section: {**tree.get(section, {}), **values}}
