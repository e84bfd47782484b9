"""95% intervals of MC, GEN and AVG from the tasks' scores and standard errors, and of any mean of independent values.

The mean of n independent values with standard errors e_i has the standard error sqrt(Σ e_i²) / n; a difference of two
independent means has the root of the sum of their squares. The interval is the normal one, mean ± q · error with q the
normal quantile of the confidence. It shows the noise of a finite number of questions. It does not show what another
calibration sample, another seed or another prompt would do.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from ream.analysis.results.rows import Score

CONFIDENCE = 0.95
Tasks = Mapping[str, Score]


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its confidence interval, in the unit of the value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error, in the same unit."""

    value: float
    stderr: float

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two independent estimates."""
        return Estimate(self.value - other.value, math.hypot(self.stderr, other.stderr))

    def interval(
        self, confidence: float = CONFIDENCE, smallest: float = -math.inf, largest: float = math.inf
    ) -> Interval:
        """The normal confidence interval, cut off at the ends of the scale."""
        width = NormalDist().inv_cdf((1 + confidence) / 2) * self.stderr
        return Interval(self.value, max(self.value - width, smallest), min(self.value + width, largest))


def mean_of(estimates: Iterable[Estimate]) -> Estimate:
    """The plain mean of independent estimates.

    Raises:
        ValueError: there are no estimates.
    """
    parts = list(estimates)
    if not parts:
        raise ValueError("a mean needs at least one value")
    value = math.fsum(part.value for part in parts) / len(parts)
    return Estimate(value, math.sqrt(math.fsum(part.stderr**2 for part in parts)) / len(parts))


@dataclass(frozen=True)
class Intervals:
    """Intervals of one model's means, or of the differences of two models' means.

    Attributes:
        mc: interval of MC, in percent; None where the suite has no such tasks.
        gen: interval of GEN, in percent; None where the suite has no such tasks.
        avg: interval of AVG, in percent; None where MC or GEN has none.
        exact: tasks without a standard error. They count as known exactly, which makes the intervals too narrow.
    """

    mc: Interval | None
    gen: Interval | None
    avg: Interval | None
    exact: tuple[str, ...]


def score_intervals(mc: Tasks, gen: Tasks, confidence: float = CONFIDENCE) -> Intervals:
    """Intervals of one model's means, cut off at 0 and 100.

    Args:
        mc: task of MC to its score.
        gen: task of GEN to its score.
        confidence: probability that an interval covers the mean.
    """
    of_mc, of_gen, of_avg = (None if mean is None else mean.interval(confidence, 0, 100) for mean in _means(mc, gen))
    return Intervals(of_mc, of_gen, of_avg, _exact(mc, gen))


def difference_intervals(
    one: tuple[Tasks, Tasks], other: tuple[Tasks, Tasks], confidence: float = CONFIDENCE
) -> Intervals:
    """Intervals of one model's means minus another's.

    The errors of the two models count as independent. Both answered the same questions, and their errors mostly have
    the same sign, so these intervals are, if anything, too wide.

    Args:
        one: (MC, GEN) of the first model, each task to score.
        other: (MC, GEN) of the model that is subtracted.
        confidence: probability that an interval covers the difference.

    Raises:
        ValueError: the models were not scored on the same tasks.
    """
    for ours, theirs in zip(one, other, strict=True):
        if set(ours) != set(theirs):
            raise ValueError(f"only one of the two models has scores of {', '.join(sorted(set(ours) ^ set(theirs)))}")
    of_mc, of_gen, of_avg = (
        None if mean is None or other_mean is None else (mean - other_mean).interval(confidence, -100, 100)
        for mean, other_mean in zip(_means(*one), _means(*other), strict=True)
    )
    return Intervals(of_mc, of_gen, of_avg, tuple(dict.fromkeys(_exact(*one) + _exact(*other))))


def _means(mc: Tasks, gen: Tasks) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """MC, GEN and AVG; None where there are no tasks."""
    mc_mean, gen_mean = (
        mean_of(Estimate(score.value, score.stderr or 0.0) for score in tasks.values()) if tasks else None
        for tasks in (mc, gen)
    )
    return mc_mean, gen_mean, None if mc_mean is None or gen_mean is None else mean_of([mc_mean, gen_mean])


def _exact(mc: Tasks, gen: Tasks) -> tuple[str, ...]:
    """Tasks without a standard error."""
    return tuple(name for name, score in {**mc, **gen}.items() if score.stderr is None)
