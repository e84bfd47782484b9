"""What each kind of stage writes: the outputs that dvc.yaml names."""

from collections.abc import Callable
from pathlib import Path

from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

OUTPUTS: dict[str, Callable[[Workspace, StageOptions], list[Path]]] = {
    "names": lambda workspace, _: [workspace.names],
    "code": lambda workspace, _: [workspace.codes],
    "watch": lambda workspace, options: [workspace.watched(options.local)],
    "inputs": lambda workspace, _: [workspace.inputs],
    "check": lambda workspace, _: [
        workspace.check, workspace.needs, workspace.shares_folder, workspace.planned_searches
    ],
    "model": lambda workspace, _: [workspace.manifest],
    "calibration": lambda workspace, options: [
        workspace.calibration(options.source), workspace.held_out(options.source)
    ],
    "statistics": lambda workspace, options: [workspace.statistics(options.source)],
    "mixture": lambda workspace, options: [workspace.mixture(options.mix)],
    "saliency": lambda workspace, options: [workspace.saliency(options.mix)],
    "grouping": lambda workspace, options: [workspace.grouping(*options.cell)],
    "alignment": lambda workspace, options: [workspace.recipe(*options.cell)],
    "sequential": lambda workspace, options: [workspace.recipe(*options.cell)],
    "items": lambda workspace, _: [workspace.items],
    "evaluate": lambda workspace, options: [
        *((workspace.evaluation(*options.cell), workspace.answers(*options.cell)) if options.mix
          else (workspace.original_evaluation, workspace.original_answers))
    ],
    "rank": lambda workspace, options: [workspace.rank(options.mix)],
    "fidelity": lambda workspace, options: [workspace.fidelity(options.export)],
    "search": lambda workspace, options: [workspace.search(options.method, options.experts)],
    "merge": lambda workspace, options: [workspace.export(options.export)],
    "metrics": lambda workspace, _: [workspace.all_metrics, workspace.plots, workspace.headline],
    "report": lambda workspace, _: [workspace.reports],
}  # fmt: skip
