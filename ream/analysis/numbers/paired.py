"""Two models on the same questions: differences of their scores with intervals, and McNemar's test.

Both models answered the same questions, so only the questions on which they differ tell them apart. The interval is a
percentile bootstrap over the questions of each task: with d_i the difference of the two models' values on question i,
the n values are drawn n times with replacement, and the ends are quantiles of the means. It is far narrower than one of
two independent scores where the models mostly agree (`ream.analysis.numbers.intervals`).

McNemar (1947): of the questions that exactly one of the two models answered correctly, the number that the first did is
binomial with probability 1/2 if both are equally good. The test is the exact one, two-sided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from ream.analysis.numbers.intervals import CONFIDENCE, Interval

RESAMPLES = 2000
Values = Mapping[Any, float]  # question to the value of the metric, 0 to 1
Differences = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Changes:
    """Questions on which two models differ, among those whose metric is 0 or 1 in both.

    Attributes:
        questions: number of these questions.
        lost: right in the first model and wrong in the second.
        gained: wrong in the first and right in the second.
        p: of McNemar's exact test.
    """

    questions: int
    lost: int
    gained: int
    p: float


@dataclass(frozen=True)
class Paired:
    """The second model's scores minus the first's, in percentage points, with 95% intervals.

    Attributes:
        tasks: difference of each task.
        mc: of the means over the multiple-choice tasks; None where a task has no common questions, or there is none.
        gen: of the means over the generative tasks.
        avg: of the means of both.
        changes: over all questions of all tasks; None where no metric is 0 or 1.
    """

    tasks: Mapping[str, Interval]
    mc: Interval | None
    gen: Interval | None
    avg: Interval | None
    changes: Changes | None


def paired(
    first: Mapping[str, Values], second: Mapping[str, Values], mc: list[str], gen: list[str], seed: int = 0
) -> Paired:
    """The comparison of two models.

    A task's difference is over the questions that both models were asked, with the same prompt. All questions of a
    group of tasks count the same, as MMLU's do.

    Args:
        first: task to question to value, of the model that is subtracted.
        second: of the other model.
        mc: the multiple-choice tasks.
        gen: the generative tasks.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    differences = {
        task: found
        for task in dict.fromkeys((*mc, *gen))
        if len(found := _differences(first.get(task, {}), second.get(task, {})))
    }
    means = {task: _means(values, rng) for task, values in differences.items()}
    of_mc, of_gen = (_mean_of(means, tasks) for tasks in (mc, gen))
    return Paired(
        tasks={task: _interval(values) for task, values in means.items()},
        mc=None if of_mc is None else _interval(of_mc),
        gen=None if of_gen is None else _interval(of_gen),
        avg=None if of_mc is None or of_gen is None else _interval((of_mc + of_gen) / 2),
        changes=changes([(first[task], second[task]) for task in differences]),
    )


def changes(pairs: list[tuple[Values, Values]]) -> Changes | None:
    """The questions on which two models differ, over tasks; None where no metric is 0 or 1.

    Args:
        pairs: for each task question to value, of the first and of the second model.
    """
    answered = [
        (one[question], other[question])
        for one, other in pairs
        for question in one.keys() & other.keys()
        if one[question] in (0, 1) and other[question] in (0, 1)
    ]
    lost, gained = answered.count((1, 0)), answered.count((0, 1))
    return Changes(len(answered), lost, gained, mcnemar(lost, gained)) if answered else None


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided p of McNemar's exact test; 1 where the models differ on no question."""
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def _differences(first: Values, second: Values) -> Differences:
    """Second minus first on the questions that both have, in an order that depends on nothing else."""
    return np.array(sorted(second[question] - first[question] for question in first.keys() & second.keys()), float)


def _means(differences: Differences, rng: np.random.Generator) -> Float64[np.ndarray, " samples"]:
    """In percentage points: the mean of all first, then means of differences drawn with replacement.

    Drawing n of n values is drawing how often each distinct value comes up, which are three for a metric of 0 and 1.
    """
    values, counts = np.unique(differences, return_counts=True)
    total = len(differences)
    drawn = rng.multinomial(total, counts / total, size=RESAMPLES)
    means: np.ndarray = 100 * np.concatenate([counts[None], drawn]) @ values / total
    return means


def _mean_of(means: Mapping[str, np.ndarray], tasks: list[str]) -> np.ndarray | None:
    """The plain mean over tasks; None where one is missing or there is none."""
    if not tasks or any(task not in means for task in tasks):
        return None
    mean: np.ndarray = np.mean([means[task] for task in tasks], axis=0)
    return mean


def _interval(means: np.ndarray) -> Interval:
    low, high = np.quantile(means[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(means[0]), float(low), float(high))
