"""`ream stage`: from the name of a stage to its module."""

import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ream.commands.ending import GOES_ON, noting
from ream.commands.options import ParamsFile
from ream.commands.output import say
from ream.commands.shipped import params_file
from ream.commands.stage_entries import STAGES, entries_of_all
from ream.errors import UserError, unknown
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.params import Params
    from ream.walk.ranks import Ranks

    Run = Callable[[Params, Workspace, StageOptions], str]


def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")],
    source: Annotated[str | None, typer.Option(help="Calibration source.")] = None,
    mix: Annotated[str | None, typer.Option(help="Calibration mix.")] = None,
    method: Annotated[str | None, typer.Option(help="A method of the params file.")] = None,
    experts: Annotated[int | None, typer.Option(help="K, the number of experts kept in every layer.")] = None,
    export: Annotated[str | None, typer.Option(help="Export to write.")] = None,
    local: Annotated[str | None, typer.Option(help="Entry of the section local.")] = None,
    shard: Annotated[
        int | None, typer.Option(help="Statistics only: process this part of the sequences, numbered from 0.")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="Statistics only: the number of parts. Run without --shard and --shards to add them up."),
    ] = None,
    worker: Annotated[
        int | None, typer.Option(help="Search only: take trials of the search that runs; a number for each process.")
    ] = None,
    params: ParamsFile = None,
    root: Annotated[Path, typer.Option(help="Folder of the artifacts.")] = Path("artifacts"),
    reports: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("reports"),
    models: Annotated[Path, typer.Option(help="Folder of the exported models.")] = Path("models"),
    metrics: Annotated[Path, typer.Option(help="Folder of the metrics.")] = Path("metrics"),
) -> None:
    """Run one stage of the graph, as dvc.yaml does.

    It reads and writes the artifacts in the folder given by --root. If DVC or the flow runs it, it ends when they do.
    """
    from ream.machine.starter import end_with_starter

    end_with_starter()
    given = {"source": source, "mix": mix, "method": method, "experts": experts, "export": export}
    given |= {"local": local, "shard": shard, "shards": shards, "worker": worker}
    text = run_stage(name, given, params_file(params), Workspace(root, reports, models, metrics), context.obj)
    if context.obj is None or context.obj.first:
        for line in text.splitlines():
            say(line)


def run_stage(
    name: str, given: Mapping[str, Any], params_path: Path, workspace: Workspace, ranks: "Ranks | None" = None
) -> str:
    """Run a stage by its name and record its time and memory.

    Args:
        name: a key of STAGES.
        given: options of the command line, fields of `StageOptions`; None where an option was not given.
        params_path: the params file.
        workspace: the folders of the artifacts, reports, models and metrics.
        ranks: of torchrun; the first records.

    Returns:
        A line that says what was done, and lines of warnings.

    Raises:
        UserError: an unknown stage, missing or superfluous options, a stage that cannot run distributed, or what the
            stage refuses.
    """
    from ream.machine.scratch import remove_abandoned
    from ream.machine.starter import DVC
    from ream.params import load_params
    from ream.params.agreed import agreed_params
    from ream.workspace.codes import WITHOUT, checked_code, held_code
    from ream.workspace.costs import recorded
    from ream.workspace.held_settings import check_written, discarding, held
    from ream.workspace.outputs import OUTPUTS
    from ream.workspace.rank_parts import check_shared

    if name not in STAGES:
        raise unknown("stage", name, STAGES, "dvc.yaml")
    entry = STAGES[name]
    options = {option: value for option, value in given.items() if value is not None}
    entry.check(name, options)
    if ranks is not None:
        _check_distributed(name, options)
    params = agreed_params(params_path) if name == "names" else load_params(params_path)
    own = entry.entries(params, options)
    if DVC in os.environ:
        check_written(params_path, entries_of_all(params) if name == "check" else own)
    code = "" if name in WITHOUT else checked_code(workspace, name)
    whole = StageOptions(**options, code=code, ranks=ranks)
    run: Run = importlib.import_module(f"ream.stages.{name}").run
    if ranks is not None:
        check_shared(params)
        if not ranks.first:
            return run(params, workspace, whole)
    remove_abandoned(workspace.scratch)
    called, shown = "-".join((name, *map(str, options.values()))), _shown_name(name, options)
    with ExitStack() as around:
        if entry.resumes:
            around.enter_context(noting(GOES_ON))
        around.enter_context(recorded(workspace.cost(called)))
        around.enter_context(discarding(OUTPUTS[name](workspace, whole)))
        around.enter_context(held(params_path, params, own, shown, workspace.ran_with(called)))
        if code:
            around.enter_context(held_code(name, code, shown))
        return run(params, workspace, whole)


def _check_distributed(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a stage that the ranks of a torchrun cannot run together, before anything is written."""
    if not STAGES[name].distributed:
        able = " and ".join(other for other, each in STAGES.items() if each.distributed)
        raise UserError(f"stage {name} cannot run distributed; only {able} can: run it without torchrun")
    if "shard" in options:
        raise UserError("--shard and --shards are for processes started one by one; leave them out under torchrun")


def _shown_name(name: str, options: Mapping[str, Any]) -> str:
    """The stage's name in DVC where DVC runs it, else its kind and options."""
    from ream.machine.starter import DVC

    return os.environ.get(DVC) or "@".join((name, "-".join(map(str, options.values())))).rstrip("@")
