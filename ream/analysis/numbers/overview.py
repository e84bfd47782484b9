"""The points of the overview: each model's and method's score in code and MC, against its total parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ream.analysis.results.methods import method_place, without_ablations
from ream.analysis.results.rows import ORIGINAL, Row, same_model

# Non-agentic code, as the paper's GEN has it.
CODE_TASKS = ("humaneval", "livecodebench")
CODE, GEN = "code: mean of HumanEval and LiveCodeBench", "GEN"

Sizes = Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class OverviewPoint:
    """A model at one size.

    Attributes:
        row: the row of the mix with the highest GEN.
        parameters: number of parameters of the whole model.
        code: mean of CODE_TASKS or GEN (`code_measure`), in percent; None where it is not known.
        mc: MC, in percent; None where it is not known.
    """

    row: Row
    parameters: int
    code: float | None
    mc: float | None


def overview_points(rows: Sequence[Row], parameters: Sizes) -> list[OverviewPoint]:
    """A point for each model, size, method and origin: the mix of highest GEN, or of highest MC where there is no GEN.

    Ablations have no point, and neither has a row whose number of parameters is given nowhere: not by itself, not by
    another row of the same model and size, not by ``parameters``.

    Args:
        rows: rows of any models and origins.
        parameters: (model, experts) to the parameters of the whole model, for rows that do not give their own.

    Returns:
        The points by model as they come, then by method, origin and from large to small.
    """
    rows = without_ablations(rows)
    known = [(row.model, row.experts, row.parameters) for row in rows if row.parameters is not None]
    known += [(model, experts, count) for (model, experts), count in parameters.items()]
    measure = code_measure(rows)
    models = list(dict.fromkeys(row.model for row in rows))
    origins = list(dict.fromkeys(row.origin for row in rows))
    best: dict[object, Row] = {}
    for row in rows:
        key = (row.model, row.origin, row.method, row.experts)
        if (row.gen is not None or row.mc is not None) and (key not in best or _rank(row) > _rank(best[key])):
            best[key] = row
    points = []
    for row in best.values():
        count = row.parameters
        if count is None:
            count = next((of for model, experts, of in known
                          if experts == row.experts and same_model(model, row.model)), None)  # fmt: skip
        if count is not None:
            points.append(OverviewPoint(row, count, _code(row) if measure == CODE else row.gen, row.mc))
    return sorted(points, key=lambda point: (models.index(point.row.model), method_place(point.row.method),
                                             origins.index(point.row.origin), -point.parameters))  # fmt: skip


def code_measure(rows: Sequence[Row]) -> str:
    """CODE where all rows with a GEN have its tasks, else GEN: all points of a panel must show the same measure."""
    with_gen = [row for row in rows if row.gen is not None]
    return CODE if with_gen and all(_code(row) is not None for row in with_gen) else GEN


def is_original(point: OverviewPoint) -> bool:
    """Whether a point is an original, where the lines of its model and origin begin."""
    return point.row.method == ORIGINAL


def _rank(row: Row) -> tuple[float, float]:
    """Sort key by GEN, then MC; unknown values come last."""
    return (-1.0 if row.gen is None else row.gen), (-1.0 if row.mc is None else row.mc)


def _code(row: Row) -> float | None:
    """The mean of the code tasks; None where one is missing."""
    if not set(CODE_TASKS) <= set(row.gen_tasks):
        return None
    return sum(row.gen_tasks[task].value for task in CODE_TASKS) / len(CODE_TASKS)
