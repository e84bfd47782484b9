"""`ream compress`: the stages of one cell of the graph, one after the other, without DVC."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ream.commands.compressing import opened, stage_options, write_model
from ream.commands.ending import GOES_ON
from ream.commands.options import (
    Device,
    GroupSize,
    Ignore,
    KeepShards,
    Methods,
    Mix,
    ModelArgument,
    OutArgument,
    ParamsFile,
    Sequences,
    Settings,
    Sizes,
    Text,
    Tokens,
    sizes_of,
)
from ream.commands.output import say, warn
from ream.commands.request import Cell, Request, check_shards, requested, sources_of
from ream.commands.shipped import params_file
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.params import Params
    from ream.walk.ranks import Ranks

PREPARED = "the text"  # where the ranks meet when the first has prepared everything, or found nothing to do


def compress(
    context: typer.Context,
    model: ModelArgument,
    out: OutArgument,
    experts: Sizes,
    method: Methods = None,
    mix: Mix = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file of your own tokens, with rows {source, input_ids} and, if rows are padded, "
            "attention_mask; all rows are used unless --mix gives ratios."
        ),
    ] = None,
    text: Text = None,
    group_size: GroupSize = None,
    sequences: Sequences = None,
    tokens: Tokens = None,
    device: Device = None,
    keep_shards: KeepShards = None,
    ignore: Ignore = None,
    settings: Settings = None,
    params: ParamsFile = None,
) -> None:
    """Compress a model in one command, without DVC.

    Several methods or sizes give a model each, in OUT/METHOD-EXPERTS; one-shot methods share one walk of the original.

    To resume an interrupted run, give the same command again.
    """
    sizes, methods = sizes_of(experts), list(dict.fromkeys(method or ["ream"]))
    check_shards(model, keep_shards)
    request = Request(
        model=model,
        out=out,
        experts=sizes[0],
        method=methods[0],
        mix=mix,
        calibration=calibration,
        text=tuple(text or ()),
        group_size=group_size,
        sequences=sequences,
        tokens=tokens,
        device=device,
        keep_shards=keep_shards,
        settings=tuple(settings or ()),
        ignore=tuple(ignore or ()),
    )
    if len(sizes) * len(methods) > 1:
        from ream.commands.compress_several import compress_several

        compress_several(request, methods, sizes, params_file(params), say, warn, context.obj)
    else:
        compress_model(request, params_file(params), say, warn, context.obj)


def compress_model(
    request: Request,
    params_path: Path,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    ranks: "Ranks | None" = None,
) -> None:
    """Compress a model and write it; the same request continues an interrupted run, from a folder beside the output.

    Args:
        request: what to do.
        params_path: the params file.
        say: prints a line about each step.
        warn: prints a line about what may be unwelcome in the output.
        ranks: of torchrun; the first does everything but the other ranks' share of the walk.

    Raises:
        UserError: the output is not empty, an interrupted run had other settings, another run uses the folder, or see
            the stages.
    """
    from ream.commands.resume import check_settings, is_finished, remove, settings_of
    from ream.machine.files import locked
    from ream.recipe.output import check_output
    from ream.workspace.rank_parts import check_shared

    params, mix = requested(request, params_path)
    cell = Cell(mix, request.method, request.experts)
    workspace = Workspace(request.out.with_name(f".{request.out.name}.ream"))
    if ranks is not None:
        check_shared(params)
        if not ranks.first:
            _accompany(params, workspace, cell, ranks)
            return
    if not workspace.root.exists():
        check_output(request.out)
    with locked(workspace.root):
        settings = settings_of(params, *cell, ranks=1 if ranks is None else ranks.size)
        check_settings(workspace, settings)
        if is_finished(request.out, workspace, settings, params, *cell):
            say(f"{request.out}: already finished; removing the interrupted run's files next to it")
            if ranks is not None:
                ranks.meet(PREPARED, False)
        else:
            check_output(request.out)
            try:
                _run(params, workspace, cell, request, settings, say, warn, ranks)
            except BaseException as error:
                if workspace.has_finished_layers():
                    error.add_note(GOES_ON)
                else:
                    remove(workspace)
                raise
        remove(workspace)


def _run(
    params: "Params",
    workspace: Workspace,
    cell: Cell,
    request: Request,
    settings: dict[str, Any],
    say: Callable[[str], None],
    warn: Callable[[str], None],
    ranks: "Ranks | None",
) -> None:
    """Run all stages of a cell and write the checkpoint."""
    from ream.commands.drawing import draw_text
    from ream.commands.estimate import check_run
    from ream.commands.resume import begin
    from ream.machine.files import sweep
    from ream.recipe.output_companions import remarks

    out = request.out
    sweep(workspace.root)
    options = _options(params, cell, ranks)
    original = opened(params, workspace, options, request.ignore, say)
    say(check_run(params, original, *cell, out, workspace.root, warn)[0])
    for remark in remarks(original.checkpoint, params.model.trust_remote_code, "--set model.trust_remote_code=true"):
        warn(remark)
    draw_text(params, workspace, cell.mix, cell.method, say)
    begin(workspace, settings)
    if ranks is not None:
        ranks.meet(PREPARED, True)
    _decide(params, workspace, cell, options, say)
    write_model(params, original, workspace.recipe(*cell), out, say, warn)


def _options(params: "Params", cell: Cell, ranks: "Ranks | None") -> StageOptions:
    """Of every stage of a cell (`stage_options`)."""
    from ream.commands.resume import code_of

    return replace(stage_options(cell, code_of(params, cell.method)), ranks=ranks)


def _decide(
    params: "Params", workspace: Workspace, cell: Cell, options: StageOptions, say: Callable[[str], None]
) -> None:
    """Run the stages from the calibration sequences to the recipe, of which `write_model` will warn."""
    from ream.compress.rarely_routed import without_warning
    from ream.stages import alignment, grouping, saliency, sequential, statistics

    if params.method(cell.method).sequential:
        say(without_warning(sequential.run(params, workspace, options)))
        return
    for line in statistics.run_sources(params, workspace, sources_of(params, cell.mix), options):
        say(line)
    for stage in (saliency, grouping, alignment):
        say(without_warning(stage.run(params, workspace, options)))


def _accompany(params: "Params", workspace: Workspace, cell: Cell, ranks: "Ranks") -> None:
    """Do the share of a rank other than the first: its part of the walk, once everything is prepared.

    Raises:
        UserError: the error of any rank.
    """
    from ream.stages import sequential, statistics

    if not ranks.meet(PREPARED)[0]:
        return
    options = _options(params, cell, ranks)
    if params.method(cell.method).sequential:
        sequential.run(params, workspace, options)
    else:
        statistics.run_sources(params, workspace, sources_of(params, cell.mix), options)
