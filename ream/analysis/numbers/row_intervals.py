"""Intervals of the means that tables and figures show: of a row, of a mean over rows, of a difference of rows."""

import math
from collections.abc import Sequence

from ream.analysis.numbers.intervals import Intervals, Tasks, difference_intervals, score_intervals
from ream.analysis.results.rows import Row, Score

SEED = 0  # the same rows give the same intervals in every table and figure


def intervals_of(rows: Sequence[Row]) -> Intervals:
    """Intervals of the mean of models, most often of one; a suite has one where standard errors are known (`pooled`).

    Raises:
        ValueError: there are no rows.
    """
    mc, gen = pooled(rows)
    return score_intervals(mc if _known(mc) else {}, gen if _known(gen) else {}, SEED)


def intervals_between(rows: Sequence[Row], others: Sequence[Row]) -> Intervals:
    """Intervals of the mean of models less the mean of others; a suite has one where both know their standard errors.

    Suites that were scored on other tasks have none.

    Raises:
        ValueError: there are no rows or no others.
    """
    (mc, other_mc), (gen, other_gen) = (_comparable(*both) for both in zip(pooled(rows), pooled(others), strict=True))
    return difference_intervals((mc, gen), (other_mc, other_gen), SEED)


def pooled(rows: Sequence[Row]) -> tuple[Tasks, Tasks]:
    """Each task's mean over models, of both suites, with the mean of its standard errors; nothing if tasks differ.

    All models answered the same questions, so that their errors do not cancel as independent ones would. They are taken
    as fully dependent: a mean over models is as uncertain as one of them.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a mean over models needs one at least")
    return _pooled([row.mc_tasks for row in rows]), _pooled([row.gen_tasks for row in rows])


def _pooled(models: Sequence[Tasks]) -> Tasks:
    if len({frozenset(tasks) for tasks in models}) > 1:
        return {}
    found = {}
    for name in models[0]:
        scores = [tasks[name] for tasks in models]
        errors = [score.stderr for score in scores if score.stderr is not None]
        stderr = math.fsum(errors) / len(scores) if errors else None
        found[name] = Score(math.fsum(score.value for score in scores) / len(scores), stderr)
    return found


def _comparable(tasks: Tasks, others: Tasks) -> tuple[Tasks, Tasks]:
    return (tasks, others) if _known(tasks) and _known(others) and set(tasks) == set(others) else ({}, {})


def _known(tasks: Tasks) -> bool:
    return any(score.stderr is not None for score in tasks.values())
