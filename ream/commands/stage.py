"""From a stage's name to its function: the table behind `ream stage`."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError, unknown
from ream.params import load_params
from ream.workspace.costs import recorded
from ream.workspace.layout import Workspace
from ream.workspace.rank_parts import check_shared

if TYPE_CHECKING:
    from ream.walk.ranks import Ranks

# Stage name to the options it needs; `evaluate` without any is the original's evaluation.
STAGES: dict[str, tuple[str, ...]] = {
    "model": (),
    "calibration": ("source",),
    "statistics": ("source",),
    "saliency": ("mix",),
    "grouping": ("mix", "method"),
    "alignment": ("mix", "method"),
    "sequential": ("mix", "method", "experts"),
    "items": (),
    "evaluate": ("mix",),
    "rank": ("mix",),
    "merge": ("export",),
    "report": (),
}
OPTIONAL = {"statistics": ("shard", "shards")}  # all of them or none
SHARED = "statistics", "sequential"  # out over the ranks of a torchrun


def run_stage(
    name: str,
    given: Mapping[str, Any],
    params_path: Path,
    root: Path,
    reports: Path,
    models: Path,
    ranks: "Ranks | None" = None,
) -> str:
    """Run a stage by its name.

    Args:
        name: of STAGES.
        given: options of the command line; None where not given.
        params_path: the params file. root, reports, models: folders of the outputs.
        ranks: of torchrun, for a stage that can be shared out.

    Returns:
        A line that says what was done.

    Raises:
        UserError: an unknown stage, a missing or superfluous option, one that is not shared out over ranks, or what the
            stage itself refuses.
    """
    if name not in STAGES:
        raise unknown("stage", name, STAGES, "dvc.yaml")
    options = {key: value for key, value in given.items() if value is not None}
    needed = STAGES[name] if options or name != "evaluate" else ()
    if any(option in options for option in OPTIONAL.get(name, ())):
        needed += OPTIONAL[name]
    if set(options) != set(needed):
        wanted = " ".join(f"--{option}" for option in needed or STAGES[name]) or "no options"
        raise UserError(f"stage {name} takes {wanted}; given: {' '.join(f'--{key}' for key in options) or 'none'}")
    if ranks is not None and name not in SHARED:
        raise UserError(
            f"stage {name} is not shared out over ranks, only {' and '.join(SHARED)} are; run it without torchrun"
        )
    params, workspace = load_params(params_path), Workspace(root)
    run: Callable[..., str] = importlib.import_module(f"ream.stages.{name}").run
    if name == "calibration":
        from ream.models.inspection.manifest import folder_of, load_manifest

        folder = folder_of(load_manifest(workspace.manifest))
        source = options["source"]
        files = {"out": workspace.calibration(source), "held_out": workspace.held_out(source)}
        return run(params, source, model_path=str(folder), model_revision=None, **files)
    extra: dict[str, Any] = {"merge": {"out": models / options.get("export", "")}, "report": {"out": reports}}.get(
        name, {}
    )
    if ranks is not None:
        check_shared(params, options.get("method"))
        extra = {"ranks": ranks}
        if not ranks.first:
            return run(params, workspace, **options, **extra)
    with recorded(workspace.cost("-".join((name, *map(str, options.values()))))):
        return run(params, workspace, **options, **extra)
