"""Bootstrap intervals of MC, GEN and AVG from the tasks' scores and standard errors.

A parametric bootstrap: each task's score is drawn from a normal distribution around the measured one, as wide as its
standard error, and the means are formed of each draw. What it shows is the noise of a finite number of questions. It
does not show what another calibration sample, another seed or another prompt would do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ream.analysis.results.rows import Score

DRAWS = 10_000
Tasks = Mapping[str, Score]


@dataclass(frozen=True)
class Interval:
    """A value and the percentiles of its draws, in percent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Of one model, or of the difference of two.

    Attributes:
        mc, gen, avg: None where a suite has no tasks of the kind.
        exact: tasks without a standard error, which are taken as known exactly: the intervals are too narrow by them.
    """

    mc: Interval | None
    gen: Interval | None
    avg: Interval | None
    exact: tuple[str, ...]


def score_intervals(mc: Tasks, gen: Tasks, seed: int, confidence: float = 0.95, draws: int = DRAWS) -> Intervals:
    """Intervals of one model's means, cut at 0 and 100.

    Args:
        mc, gen: task to score of the two suites.
        seed: of the draws; the same seed gives the same intervals.
    """
    means = _draw(mc, gen, np.random.default_rng(seed), draws)
    found = [_interval(*part, confidence, 0, 100) for part in means]
    return Intervals(found[0], found[1], found[2], _exact(mc, gen))


def difference_intervals(
    one: tuple[Tasks, Tasks],
    other: tuple[Tasks, Tasks],
    seed: int,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> Intervals:
    """Intervals of one model's means less another's.

    The two models' errors are drawn independently. Both answered the same questions, and their errors have most often
    the same sign, so that these intervals are, if anything, too wide.

    Args:
        one, other: (mc, gen) of each model.

    Raises:
        ValueError: the models were not scored on the same tasks.
    """
    for ours, theirs in zip(one, other, strict=True):
        if set(ours) != set(theirs):
            raise ValueError(f"only one of the two models has scores of {', '.join(sorted(set(ours) ^ set(theirs)))}")
    streams = np.random.default_rng(seed).spawn(2)
    parts = zip(_draw(*one, streams[0], draws), _draw(*other, streams[1], draws), strict=True)
    found: list[Interval | None] = []
    for (value, drawn), (other_value, other_drawn) in parts:
        if value is None or other_value is None or drawn is None or other_drawn is None:
            found.append(None)
        else:
            found.append(_interval(value - other_value, drawn - other_drawn, confidence, -100, 100))
    return Intervals(found[0], found[1], found[2], tuple(dict.fromkeys(_exact(*one) + _exact(*other))))


Drawn = tuple[float | None, Float64[np.ndarray, " draws"] | None]


def _draw(mc: Tasks, gen: Tasks, rng: np.random.Generator, draws: int) -> tuple[Drawn, Drawn, Drawn]:
    (mc_value, mc_drawn), (gen_value, gen_drawn) = (_suite(tasks, rng, draws) for tasks in (mc, gen))
    if mc_value is None or gen_value is None or mc_drawn is None or gen_drawn is None:
        return (mc_value, mc_drawn), (gen_value, gen_drawn), (None, None)
    return (mc_value, mc_drawn), (gen_value, gen_drawn), ((mc_value + gen_value) / 2, (mc_drawn + gen_drawn) / 2)


def _suite(tasks: Tasks, rng: np.random.Generator, draws: int) -> Drawn:
    if not tasks:
        return None, None
    names = sorted(tasks)  # the draws do not depend on the order of the tasks
    values = np.array([tasks[name].value for name in names])
    errors = np.array([tasks[name].stderr or 0.0 for name in names])
    return float(values.mean()), (values + errors * rng.standard_normal((draws, len(names)))).mean(axis=1)


def _interval(
    value: float | None, drawn: np.ndarray | None, confidence: float, smallest: float, largest: float
) -> Interval | None:
    if value is None or drawn is None:
        return None
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(max(low, smallest)), float(min(high, largest)))


def _exact(mc: Tasks, gen: Tasks) -> tuple[str, ...]:
    return tuple(name for name, score in {**mc, **gen}.items() if score.stderr is None)
