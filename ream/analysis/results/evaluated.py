"""Our own evaluations as rows."""

from collections.abc import Iterable, Mapping, Sequence

from ream.analysis.results.rows import ORIGINAL, OURS, ROLES, TASKS, Row, Score
from ream.evaluation.scores import Cell


def rows_of_cells(
    cells: Iterable[Cell],
    model: str,
    mixes: Mapping[str, Mapping[str, float]],
    mc: Sequence[str],
    gen: Sequence[str],
    origin: str = OURS,
) -> list[Row]:
    """A row for each evaluated cell.

    Args:
        cells: cells as the evaluate stages wrote them.
        model: hub id or folder of the original.
        mixes: name of a mix to its sources' ratios, as in params.yaml; the rows name sources by their ROLES.
        mc: the suite's multiple-choice tasks.
        gen: the suite's generative tasks.
        origin: name of these results.

    Raises:
        ValueError: a cell's mix is not among the mixes, or two of its sources have the same role.
    """
    return [
        Row(
            origin=origin,
            model=model,
            method=cell.method or ORIGINAL,
            experts=cell.experts,
            ratios={} if cell.mix is None else _ratios(cell.mix, mixes),
            mc_tasks=_scores(cell, mc),
            gen_tasks=_scores(cell, gen),
            mc=cell.mc,
            gen=cell.gen,
            avg=cell.avg,
            parameters=cell.parameters,
            called=cell.mix or "",
        )
        for cell in cells
    ]


def _ratios(mix: str, mixes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The ratios of a mix by the roles of its sources."""
    if mix not in mixes:
        raise ValueError(f"the ratios of mix '{mix}' are not known")
    ratios = {ROLES.get(source, source): ratio for source, ratio in mixes[mix].items()}
    if len(ratios) < len(mixes[mix]):
        raise ValueError(f"mix '{mix}' has two sources of one kind: {', '.join(mixes[mix])}")
    return ratios


def _scores(cell: Cell, tasks: Sequence[str]) -> dict[str, Score]:
    """The cell's scores on those of the tasks that it has, by their names in tables."""
    scores = {task: cell.tasks[task] for task in tasks if task in cell.tasks}
    return {TASKS.get(task, task): Score(score.value, score.stderr) for task, score in scores.items()}
