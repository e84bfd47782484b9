"""The best method at a size, and whether its lead is more than noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from ream.analysis.html.measures import Measure, Model
from ream.analysis.html.statements import Point, Standing, Statement, listed, number
from ream.analysis.results.methods import method_place


@dataclass(frozen=True)
class Entry(Generic[Model]):
    """A candidate for the best model.

    Attributes:
        method: how it was made.
        mix: name of its mix; empty where it is not known.
        model: the model's results.
    """

    method: str
    mix: str
    model: Model


def best(entries: Sequence[Entry[Model]], measure: Measure[Model], original: float | None = None) -> Statement | None:
    """The best method by a measure against the runner-up, each with its best mix; None where no entry has a value.

    Ties go to the method that comes first in the tables and, within a method, to the mix that was run first.

    Args:
        entries: models of one size.
        measure: the measure.
        original: the original's value, to be shown beside the best.
    """
    best_by_method: dict[str, tuple[float, Entry[Model]]] = {}
    for entry in entries:
        value = measure.value(entry.model)
        if value is not None:
            rank = value if measure.lower else -value
            if entry.method not in best_by_method or rank < best_by_method[entry.method][0]:
                best_by_method[entry.method] = rank, entry
    ranked = [
        entry for _, entry in sorted(best_by_method.values(), key=lambda top: (top[0], method_place(top[1].method)))
    ]
    if not ranked:
        return None
    text = f"{_called(ranked[0])} has {measure.phrase}: {_value(ranked[0], measure)}"
    text += "." if original is None else f"; the original has {number(original, measure.digits)}."
    standing: Standing = "unknown"
    if len(ranked) == 1:
        text += " No other method has a value at this size."
    else:
        standing, comparison = _against(ranked[0], ranked[1], measure)
        text += f" {comparison}"
    exact = sorted({task for entry in ranked[:2] for task in measure.exact(entry.model)})
    if exact:
        text += f" Tasks without a standard error count as exact: {listed(exact)}."
    return Statement(measure.name, text, standing, tuple(_point(entry, measure) for entry in ranked), original)


def _against(first: Entry[Model], second: Entry[Model], measure: Measure[Model]) -> tuple[Standing, str]:
    """The lead over the runner-up in words."""
    runner_up = f"The runner-up is {_called(second)} with {_value(second, measure)}."
    size = number(abs(_known(first, measure) - _known(second, measure)), measure.digits)
    difference = measure.difference(first.model, second.model)
    if isinstance(difference, str):
        return "unknown", f"{runner_up} Whether the difference of {size} is more than noise is not known: {difference}."
    low, high = (-difference.high, -difference.low) if measure.lower else (difference.low, difference.high)
    ends = f"95% interval {number(low, measure.digits)} to {number(high, measure.digits)}"
    if low > 0:
        return "clear", f"{runner_up} The difference of {size} ({ends}) is beyond noise."
    return "noise", f"{runner_up} The difference of {size} ({ends}) is within noise: neither is shown to be better."


def _called(entry: Entry[Model]) -> str:
    """The entry's name in a sentence."""
    return f"{entry.method} on {entry.mix}" if entry.mix else entry.method


def _known(entry: Entry[Model], measure: Measure[Model]) -> float:
    """The value of an entry that has one."""
    value = measure.value(entry.model)
    assert value is not None, "entries without a value were left out"
    return value


def _value(entry: Entry[Model], measure: Measure[Model]) -> str:
    """The value in a sentence, with its interval where there is one."""
    value, interval = number(_known(entry, measure), measure.digits), measure.interval(entry.model)
    if interval is None:
        return value
    return f"{value} (95% interval {number(interval.low, measure.digits)} to {number(interval.high, measure.digits)})"


def _point(entry: Entry[Model], measure: Measure[Model]) -> Point:
    """The value and interval as numbers."""
    interval = measure.interval(entry.model)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Point(entry.method, entry.mix, _known(entry, measure), low, high, measure.digits)
