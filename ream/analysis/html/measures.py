"""The measures by which models are compared: GEN, AVG and the mean held-out loss, with intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ream.analysis.numbers.intervals import Interval, Tasks
from ream.analysis.numbers.loss_intervals import loss_difference, loss_interval
from ream.analysis.numbers.row_intervals import intervals_between, intervals_of
from ream.analysis.results.rows import Row
from ream.evaluation.scores import Cell

Model = TypeVar("Model")
OTHER_TASKS = "the two were not scored on the same tasks"
OTHER_TEXT = "the two were not scored on the same text"
NO_ERRORS = "there are no standard errors"


@dataclass(frozen=True)
class Measure(Generic[Model]):
    """A measure of a model.

    Attributes:
        name: its name in a heading.
        phrase: what the best model has, in a sentence.
        value: a model's value; None where it has none.
        interval: the 95% interval of a model's value; None where no standard error is known.
        difference: the 95% interval of one model's value minus another's, or the reason why there is none.
        exact: a model's tasks without a standard error, where others have one.
        lower: whether the smallest value is the best.
        digits: decimals to show.
    """

    name: str
    phrase: str
    value: Callable[[Model], float | None]
    interval: Callable[[Model], Interval | None]
    difference: Callable[[Model, Model], Interval | str]
    exact: Callable[[Model], tuple[str, ...]]
    lower: bool = False
    digits: int = 1


def _scores(name: str, phrase: str, both: bool) -> Measure[Row]:
    """GEN or AVG; the attribute of rows and intervals is the name in lower case.

    Args:
        name: "GEN" or "AVG".
        phrase: what the best model has.
        both: whether the measure depends on MC's tasks, too.
    """
    field = name.lower()

    def suites(row: Row) -> list[Tasks]:
        return [row.mc_tasks, row.gen_tasks] if both else [row.gen_tasks]

    def value(row: Row) -> float | None:
        mean: float | None = getattr(row, field)
        return mean

    def interval(row: Row) -> Interval | None:
        of_mean: Interval | None = getattr(intervals_of([row]), field)
        return of_mean

    def difference(one: Row, other: Row) -> Interval | str:
        of_difference: Interval | None = getattr(intervals_between([one], [other]), field)
        if of_difference is not None:
            return of_difference
        same = [set(suite) for suite in suites(one)] == [set(suite) for suite in suites(other)]
        return NO_ERRORS if same else OTHER_TASKS

    def exact(row: Row) -> tuple[str, ...]:
        if interval(row) is None:
            return ()
        return tuple(task for suite in suites(row) for task, score in suite.items() if score.stderr is None)

    return Measure(name, phrase, value, interval, difference, exact)


def _loss_difference(one: Cell, other: Cell) -> Interval | str:
    """The interval of the difference of two mean losses."""
    return loss_difference(one.loss, other.loss) if set(one.loss) == set(other.loss) else OTHER_TEXT


GEN = _scores("GEN", "the highest GEN", both=False)
AVG = _scores("AVG", "the highest AVG", both=True)
LOSS = Measure[Cell](
    "Held-out loss",
    "the lowest mean held-out loss, in nats per token",
    lambda cell: cell.mean_loss,
    lambda cell: loss_interval(cell.loss),
    _loss_difference,
    lambda cell: (),
    lower=True,
    digits=3,
)
