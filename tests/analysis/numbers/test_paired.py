import math

import numpy as np
import pytest

from ream.analysis.numbers.intervals import Estimate
from ream.analysis.numbers.paired import Changes, changes, mcnemar, paired


def answers(*values):
    return dict(enumerate(values))


def test_mcnemar_by_hand():
    # 1 lost, 5 gained: P(at most 1 of 6) = (1 + 6) / 64, on both sides
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 10) == pytest.approx(2 / 1024)


def test_changes_are_counted_where_both_are_0_or_1_and_over_tasks():
    first, second = answers(1, 1, 0, 0, 0.5, 1), answers(1, 0, 1, 0, 1)  # the last was asked in one model only
    assert changes([(first, second)]) == Changes(4, 1, 1, 1.0)
    assert changes([(first, second), (answers(1, 1), answers(0, 0))]) == Changes(6, 3, 1, mcnemar(3, 1))
    assert changes([(answers(0.5), answers(0.25))]) is None


def test_differences_by_hand():
    # task a: values differ by 0, -1, 0, +1, -1 of 5: -20 points; b: +50; their mean +15; g: 0
    first = {"a": answers(1, 1, 0, 0, 1), "b": answers(0, 0), "g": answers(0.5, 0.5)}
    second = {"a": answers(1, 0, 0, 1, 0), "b": answers(0, 1), "g": answers(0.25, 0.75)}
    found = paired(first, second, ["a", "b"], ["g"])
    assert {task: interval.value for task, interval in found.tasks.items()} == {"a": -20, "b": 50, "g": 0}
    assert [interval.value for interval in (found.mc, found.gen, found.avg)] == [15, 0, 7.5]
    assert found.changes == Changes(7, 2, 2, 1.0)
    assert (found.gen.low, found.gen.high) == (-25, 25)  # means of two of -0.25 and +0.25: the ends come up 1 in 4


def test_the_interval_is_that_of_drawing_questions_one_by_one():
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
    found = paired({"a": answers(*one)}, {"a": answers(*other)}, ["a"], []).mc
    drawn = [100 * np.mean((other - one)[rng.integers(0, 80, 80)]) for _ in range(4000)]
    assert found.value == pytest.approx(100 * np.mean(other - one))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1.5)


def test_models_that_mostly_agree_have_a_far_narrower_interval_than_independent_ones():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 2, 1000)
    other = one.copy()
    other[:20] = 1 - other[:20]
    found = paired({"a": answers(*one)}, {"a": answers(*other)}, ["a"], []).mc
    error = 100 * math.sqrt(0.25 / 1000)
    independent = (Estimate(50, error) - Estimate(50, error)).interval()
    assert found.high - found.low < 0.3 * (independent.high - independent.low)


def test_equal_models_differ_by_nothing():
    same = {"a": answers(1, 0, 1)}
    found = paired(same, same, ["a"], [])
    assert (found.mc.value, found.mc.low, found.mc.high) == (0, 0, 0)
    assert (found.gen, found.avg) == (None, None)
    assert found.changes.p == 1


def test_a_mean_needs_all_of_its_tasks_and_the_same_prompts():
    one, other = {"a": answers(1), "b": {("q", "x"): 1}}, {"a": answers(0), "b": {("q", "y"): 1}}
    found = paired(one, other, ["a", "b"], [])
    assert (set(found.tasks), found.mc) == ({"a"}, None)


def test_the_order_of_questions_and_the_run_change_nothing():
    one, other = answers(1, 0, 1, 1, 0), answers(0, 0, 1, 0, 1)
    again = paired({"a": dict(reversed(one.items()))}, {"a": dict(reversed(other.items()))}, ["a"], [])
    assert paired({"a": one}, {"a": other}, ["a"], []) == again
