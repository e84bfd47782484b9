import math

import pytest

from ream.analysis.numbers.row_intervals import intervals_between, intervals_of, pooled
from ream.analysis.results.rows import Row, Score


def row(mc=None, gen=None):
    return Row("ours", "m", "ream", 8, mc_tasks=mc or {}, gen_tasks=gen or {})


def half(interval):
    return (interval.high - interval.low) / 2


def test_a_suite_has_an_interval_where_an_error_is_known():
    # MC: (50 + 60) / 2 with errors 3 and 4: 1.96 · sqrt(9 + 16) / 2 = 4.9; GEN is printed without errors
    intervals = intervals_of([row({"a": Score(50.0, 3.0), "b": Score(60.0, 4.0)}, {"c": Score(10.0)})])
    assert (intervals.mc.value, half(intervals.mc)) == (55.0, pytest.approx(4.9, rel=1e-4))
    assert (intervals.gen, intervals.avg, intervals.exact) == (None, None, ())
    assert intervals_of([row()]).mc is None


def test_a_task_without_its_error_is_named_among_others_that_have_one():
    intervals = intervals_of([row({"a": Score(50.0, 3.0), "b": Score(60.0)})])
    assert (intervals.exact, half(intervals.mc)) == (("b",), pytest.approx(1.96 * 3 / 2, rel=1e-4))


def test_the_mean_of_models_is_as_uncertain_as_one_of_them():
    rows = [row(gen={"c": Score(value, error)}) for value, error in ((10.0, 1.0), (20.0, 2.0), (60.0, 3.0))]
    assert pooled(rows) == ({}, {"c": Score(30.0, 2.0)})
    intervals = intervals_of(rows)
    assert (intervals.gen.value, half(intervals.gen)) == (30.0, pytest.approx(1.96 * 2, rel=1e-4))
    with pytest.raises(ValueError, match="at least one row"):
        intervals_of([])


def test_models_of_other_tasks_have_no_common_interval():
    rows = [row(gen={"c": Score(10.0, 1.0)}), row(gen={"d": Score(10.0, 1.0)})]
    assert intervals_of(rows).gen is None
    assert intervals_between(rows[:1], rows[1:]).gen is None


def test_a_difference_needs_the_errors_of_both():
    known, printed = (
        row({"a": Score(50.0, 3.0)}, {"c": Score(30.0, 4.0)}),
        row({"a": Score(40.0, 4.0)}, {"c": Score(1.0)}),
    )
    intervals = intervals_between([known], [printed])
    assert (intervals.mc.value, half(intervals.mc)) == (10.0, pytest.approx(1.96 * math.hypot(3, 4), rel=1e-4))
    assert (intervals.gen, intervals.avg) == (None, None)
