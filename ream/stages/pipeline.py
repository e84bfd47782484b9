"""`ream compress`: the stages of one cell of the graph, one after the other, without DVC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from ream.errors import UserError
from ream.files import locked, sweep
from ream.params import HubSource, Params, load_params, parse_params
from ream.stages.shared import BEGUN, accompany, check_shared
from ream.stages.workspace import Workspace

if TYPE_CHECKING:
    from ream.compress.ranks import Ranks

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


def compress_model(
    request: Request,
    params_path: Path,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    ranks: "Ranks | None" = None,
) -> None:
    """Compress a model and write it; an interrupted run goes on when asked again in the same words.

    What it has done so far lies in a hidden folder beside the output, until the output is there.

    Args:
        request: what to do. params_path: of the params file.
        say: is given a line about each step. warn: is given what may be unwelcome in the output, but stops nothing.
        ranks: of torchrun; the first does all but its share of the walk, in which the others join.

    Raises:
        UserError: the output is not empty, an interrupted run had other settings, another run is at it, or see the
            stages.
    """
    from ream.compress.output import check_output
    from ream.stages.resume import begun, check_settings, is_finished, remove, settings_of

    params, mix = requested(request, params_path)
    cell = Cell(mix, request.method, request.experts)
    workspace = Workspace(request.out.with_name(f".{request.out.name}.ream"))
    if ranks is not None:
        check_shared(params, request.method)
        if not ranks.first:
            accompany(params, workspace, *cell, sources_of(params, mix), ranks)
            return
    if not workspace.root.exists():
        check_output(request.out)
    with locked(workspace.root):
        settings = settings_of(params, *cell, ranks=1 if ranks is None else ranks.size)
        check_settings(workspace, settings)
        if is_finished(request.out, workspace, settings, params, *cell):
            say(f"{request.out}: was finished before; what the killed run left beside it is removed")
            if ranks is not None:
                ranks.meet(BEGUN, False)
        else:
            check_output(request.out)
            try:
                _run(params, workspace, cell, request.out, settings, say, warn, ranks)
            except UserError:
                if not begun(workspace):
                    remove(workspace)
                raise
        remove(workspace)


class Cell(NamedTuple):
    """One cell of the graph: what names a recipe."""

    mix: str
    method: str
    experts: int


def _run(
    params: Params,
    workspace: Workspace,
    cell: Cell,
    out: Path,
    settings: dict[str, Any],
    say: Callable[[str], None],
    warn: Callable[[str], None],
    ranks: "Ranks | None",
) -> None:
    from ream.compress.output import write_checkpoint
    from ream.compress.recipe_file import load_recipe
    from ream.stages import alignment, calibration, grouping, model, saliency, sequential, statistics
    from ream.stages.estimate import check_run
    from ream.stages.original import open_original
    from ream.stages.resume import begin, begun

    sweep(workspace.root)
    say(model.run(params, workspace, begun(workspace)))
    original = open_original(workspace, params.model.keep_shards)
    say(check_run(params, original, *cell, out, workspace.root, warn))
    sources = sources_of(params, cell.mix)
    for source in sources:
        drawn = workspace.calibration(source)
        if begun(workspace) and drawn.exists() and isinstance(params.sources[source], HubSource):
            say(f"{source}: as the interrupted run has drawn it")  # the hub may have changed, or be out of reach
        else:
            say(calibration.run(params, source, drawn, str(original.checkpoint.folder), None))
    begin(workspace, settings)
    if ranks is not None:
        ranks.meet(BEGUN, True)
    if params.method(cell.method).sequential:
        say(sequential.run(params, workspace, *cell, discard_stale=False, keep_state=True, ranks=ranks))
    else:
        for line in statistics.run_all(params, workspace, sources, discard_stale=False, ranks=ranks):
            say(line)
        say(saliency.run(params, workspace, cell.mix))
        say(grouping.run(params, workspace, cell.mix, cell.method))
        say(alignment.run(params, workspace, cell.mix, cell.method, discard_stale=False, keep_state=True))
    recipe = load_recipe(workspace.recipe(*cell))
    parameters = write_checkpoint(
        original.checkpoint,
        original.architecture,
        recipe,
        out,
        unquantised=params.merge.dtype != "original",
        shard_gb=params.merge.shard_gb,
    )
    before = original.manifest.parameters
    share = f"{parameters:,} of {before:,} parameters ({parameters / before:.0%})"
    say(f"{out}: {share}, card and recipe beside them")


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
