"""What models are compared by: GEN, AVG and the mean held-out loss, their intervals and those of differences."""

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
NO_ERRORS = "standard errors are not known"


@dataclass(frozen=True)
class Measure(Generic[Model]):
    """A measure of a model.

    Attributes:
        name: in a heading. phrase: what the best has, in a sentence.
        value: of a model; None where it has none.
        interval: 95%, of a model; None where no standard error is known.
        difference: 95%, of one model's value less another's; a text that says why there is none.
        exact: tasks of a model without a standard error, where others have one.
        lower: whether the smallest value is the best.
        digits: to show.
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
    """GEN or AVG, whose field in rows and intervals is its name in small letters; both: it is of MC's tasks, too."""
    field = name.lower()

    def suites(row: Row) -> list[Tasks]:
        return [row.mc_tasks, row.gen_tasks] if both else [row.gen_tasks]

    def value(row: Row) -> float | None:
        found: float | None = getattr(row, field)
        return found

    def interval(row: Row) -> Interval | None:
        found: Interval | None = getattr(intervals_of([row]), field)
        return found

    def difference(one: Row, other: Row) -> Interval | str:
        found: Interval | None = getattr(intervals_between([one], [other]), field)
        if found is not None:
            return found
        same = [set(suite) for suite in suites(one)] == [set(suite) for suite in suites(other)]
        return NO_ERRORS if same else OTHER_TASKS

    def exact(row: Row) -> tuple[str, ...]:
        if interval(row) is None:
            return ()
        return tuple(task for suite in suites(row) for task, score in suite.items() if score.stderr is None)

    return Measure(name, phrase, value, interval, difference, exact)


def _loss_difference(one: Cell, other: Cell) -> Interval | str:
    return loss_difference(one.loss, other.loss) if set(one.loss) == set(other.loss) else OTHER_TEXT


GEN = _scores("GEN", "the highest GEN", both=False)
AVG = _scores("AVG", "the highest AVG", both=True)
LOSS = Measure[Cell](
    "Held-out loss",
    "the lowest mean held-out loss, in nats a token",
    lambda cell: cell.mean_loss,
    lambda cell: loss_interval(cell.loss),
    _loss_difference,
    lambda cell: (),
    lower=True,
    digits=3,
)
