"""`ream compress`: the stages of one cell of the graph, one after the other, without DVC."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.commands.request import Cell, Request, requested, sources_of
from ream.errors import UserError
from ream.machine.files import locked, sweep
from ream.params import HubSource, Params
from ream.workspace.layout import Workspace
from ream.workspace.rank_parts import check_shared

if TYPE_CHECKING:
    from ream.walk.ranks import Ranks

BEGUN = "the text"  # where the ranks meet when the first has prepared all, or found that there is nothing to do


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
    from ream.commands.resume import begun, check_settings, is_finished, remove, settings_of
    from ream.recipe.output import check_output

    params, mix = requested(request, params_path)
    cell = Cell(mix, request.method, request.experts)
    workspace = Workspace(request.out.with_name(f".{request.out.name}.ream"))
    if ranks is not None:
        check_shared(params, request.method)
        if not ranks.first:
            _accompany(params, workspace, *cell, sources_of(params, mix), ranks)
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
    from ream.commands.estimate import check_run
    from ream.commands.resume import begin, begun
    from ream.recipe.output import write_checkpoint
    from ream.recipe.recipe_file import load_recipe
    from ream.stages import alignment, calibration, grouping, model, saliency, sequential, statistics
    from ream.workspace.original import open_original

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


def _accompany(
    params: Params, workspace: Workspace, mix: str, method: str, experts: int, sources: list[str], ranks: "Ranks"
) -> None:
    """The part in `ream compress` of every rank but the first: its share of the walk, when all is prepared.

    Raises:
        UserError: of any rank.
    """
    from ream.stages import sequential, statistics

    if not ranks.meet(BEGUN)[0]:
        return
    if params.method(method).sequential:
        sequential.run(params, workspace, mix, method, experts, discard_stale=False, keep_state=True, ranks=ranks)
    else:
        statistics.run_all(params, workspace, sources, discard_stale=False, ranks=ranks)
