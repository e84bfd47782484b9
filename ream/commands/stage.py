"""`ream stage`: from the name of a stage to its module, and the options that each stage takes."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ream.commands.options import ParamsFile
from ream.commands.request import params_file
from ream.errors import UserError, unknown
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.params import Params
    from ream.walk.ranks import Ranks

    Run = Callable[[Params, Workspace, StageOptions], str]


@dataclass(frozen=True)
class StageEntry:
    """The options of a stage, whose module is ``ream.stages.NAME``.

    Attributes:
        needed: options that must be given.
        optional: options of which all or none are given.
        distributed: whether the ranks of a torchrun can run the stage together.
    """

    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    distributed: bool = False

    @property
    def usage(self) -> str:
        """The options as a line shows them; optional ones in brackets."""
        options = " ".join(f"--{option}" for option in self.needed)
        optional = " ".join(f"--{option}" for option in self.optional)
        return f"{options} {f'[{optional}]' if optional else ''}".strip() or "no options"

    def accepts(self, given: set[str]) -> bool:
        """Whether a stage can run with exactly these options."""
        return given in ({*self.needed}, {*self.needed, *self.optional})


STAGES = {
    "model": StageEntry(),
    "calibration": StageEntry(("source",)),
    "statistics": StageEntry(("source",), optional=("shard", "shards"), distributed=True),
    "saliency": StageEntry(("mix",)),
    "grouping": StageEntry(("mix", "method")),
    "alignment": StageEntry(("mix", "method")),
    "sequential": StageEntry(("mix", "method", "experts"), distributed=True),
    "items": StageEntry(),
    "evaluate": StageEntry(optional=("mix",)),  # without a mix, the original
    "rank": StageEntry(("mix",)),
    "merge": StageEntry(("export",)),
    "metrics": StageEntry(),
    "report": StageEntry(),
}


def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")],
    source: Annotated[str | None, typer.Option(help="Calibration source.")] = None,
    mix: Annotated[str | None, typer.Option(help="Calibration mix.")] = None,
    method: Annotated[str | None, typer.Option(help="A method of the params file.")] = None,
    experts: Annotated[int | None, typer.Option(help="K, the number of experts kept in every layer.")] = None,
    export: Annotated[str | None, typer.Option(help="Export to write.")] = None,
    shard: Annotated[
        int | None, typer.Option(help="Statistics only: process this part of the sequences, numbered from 0.")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="Statistics only: the number of parts. Run without --shard and --shards to add them up."),
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
    given |= {"shard": shard, "shards": shards}
    line = run_stage(name, given, params_file(params), Workspace(root, reports, models, metrics), context.obj)
    if context.obj is None or context.obj.first:
        typer.echo(line)


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
        One line that says what was done.

    Raises:
        UserError: an unknown stage, missing or superfluous options, a stage that cannot run distributed, or what the
            stage refuses.
    """
    from ream.machine.scratch import remove_abandoned
    from ream.params import load_params
    from ream.workspace.costs import recorded
    from ream.workspace.rank_parts import check_shared

    if name not in STAGES:
        raise unknown("stage", name, STAGES, "dvc.yaml")
    entry = STAGES[name]
    options = {option: value for option, value in given.items() if value is not None}
    if not entry.accepts(set(options)):
        shown = " ".join(f"--{option}" for option in options) or "none"
        raise UserError(f"stage {name} takes {entry.usage}; given: {shown}")
    if ranks is not None and not entry.distributed:
        able = " and ".join(other for other, each in STAGES.items() if each.distributed)
        raise UserError(f"stage {name} cannot run distributed; only {able} can: run it without torchrun")
    params = load_params(params_path)
    run: Run = importlib.import_module(f"ream.stages.{name}").run
    if ranks is not None:
        check_shared(params, options.get("method"))
        if not ranks.first:
            return run(params, workspace, StageOptions(**options, ranks=ranks))
    remove_abandoned(workspace.scratch)
    with recorded(workspace.cost("-".join((name, *map(str, options.values()))))):
        return run(params, workspace, StageOptions(**options, ranks=ranks))
