"""Intervals of the means that tables and figures show: of one row, of a mean over rows, of a difference of rows."""

import math
from collections.abc import Sequence

from ream.analysis.numbers.intervals import Intervals, Tasks, difference_intervals, score_intervals
from ream.analysis.results.rows import Row, Score


def intervals_of(rows: Sequence[Row]) -> Intervals:
    """Intervals of the mean over models, often only one; a suite has one where standard errors are known (`pooled`).

    Raises:
        ValueError: there are no rows.
    """
    mc, gen = pooled(rows)
    return score_intervals(mc if _known(mc) else {}, gen if _known(gen) else {})


def intervals_between(rows: Sequence[Row], others: Sequence[Row]) -> Intervals:
    """Intervals of the mean over models minus the mean over others.

    A suite has one where both sides know standard errors and were scored on the same tasks.

    Raises:
        ValueError: there are no rows or no others.
    """
    (mc, other_mc), (gen, other_gen) = (_comparable(*both) for both in zip(pooled(rows), pooled(others), strict=True))
    return difference_intervals((mc, gen), (other_mc, other_gen))


def pooled(rows: Sequence[Row]) -> tuple[Tasks, Tasks]:
    """(MC, GEN): each task's mean score over models, with the mean of its standard errors; empty where tasks differ.

    All models answered the same questions, so their errors do not cancel as independent ones would. They count as fully
    dependent: a mean over models is as uncertain as one of them.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a mean over models needs at least one row")
    return _pooled([row.mc_tasks for row in rows]), _pooled([row.gen_tasks for row in rows])


def _pooled(models: Sequence[Tasks]) -> Tasks:
    """Each task's mean over the models; empty where their tasks differ."""
    if len({frozenset(tasks) for tasks in models}) > 1:
        return {}
    means = {}
    for name in models[0]:
        scores = [tasks[name] for tasks in models]
        errors = [score.stderr for score in scores if score.stderr is not None]
        stderr = math.fsum(errors) / len(scores) if errors else None
        means[name] = Score(math.fsum(score.value for score in scores) / len(scores), stderr)
    return means


def _comparable(tasks: Tasks, others: Tasks) -> tuple[Tasks, Tasks]:
    """Both suites where their difference has an interval, else two empty ones."""
    return (tasks, others) if _known(tasks) and _known(others) and set(tasks) == set(others) else ({}, {})


def _known(tasks: Tasks) -> bool:
    """Whether any task has a standard error."""
    return any(score.stderr is not None for score in tasks.values())
