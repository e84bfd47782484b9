import math

import pytest

from ream.analysis.numbers.intervals import difference_intervals, score_intervals
from ream.analysis.results.rows import Score

NORMAL_975 = 1.959964


def exact_width(scores):
    """Half the 95% interval of a mean of independent normal scores."""
    return NORMAL_975 * math.sqrt(sum(score.stderr**2 for score in scores.values())) / len(scores)


MC = {"a": Score(60.0, 1.0), "b": Score(50.0, 2.0)}
GEN = {"c": Score(40.0, 3.0), "d": Score(30.0, 4.0), "e": Score(20.0, 0.5)}


def test_intervals_are_those_of_means_of_normal_scores():
    # MC = 55, half-width 1.96 · sqrt(1 + 4) / 2 = 2.191; GEN = 30; AVG = 42.5 from both together
    found = score_intervals(MC, GEN, seed=0, draws=200_000)
    for interval, value, width in (
        (found.mc, 55.0, exact_width(MC)),
        (found.gen, 30.0, exact_width(GEN)),
        (found.avg, 42.5, math.hypot(exact_width(MC), exact_width(GEN)) / 2),
    ):
        assert interval.value == pytest.approx(value)
        assert (interval.low, interval.high) == pytest.approx((value - width, value + width), abs=0.03)
    assert found.exact == ()


def test_confidence_widens_an_interval():
    narrow, wide = (score_intervals(MC, {}, 0, confidence, draws=100_000).mc for confidence in (0.6827, 0.95))
    assert narrow.high - narrow.low == pytest.approx(math.sqrt(5), abs=0.05)  # one standard error to each side
    assert wide.high - wide.low == pytest.approx(2 * exact_width(MC), abs=0.05)


def test_the_seed_alone_decides():
    assert score_intervals(MC, GEN, seed=3) == score_intervals(dict(reversed(MC.items())), GEN, seed=3)
    assert score_intervals(MC, GEN, seed=3) != score_intervals(MC, GEN, seed=4)


def test_a_suite_without_one_kind_has_no_interval_of_it():
    found = score_intervals({}, GEN, seed=0)
    assert (found.mc, found.avg, found.gen.value) == (None, None, 30)


def test_tasks_without_standard_error_are_exact_and_named():
    found = score_intervals({"a": Score(60.0), "b": Score(50.0)}, {"c": Score(40.0, 0.0)}, seed=0)
    assert (found.mc.low, found.mc.high, found.gen.low) == (55, 55, 40)
    assert found.exact == ("a", "b")


def test_intervals_stay_on_the_scale():
    found = score_intervals({"a": Score(1.0, 5.0)}, {"b": Score(99.0, 5.0)}, seed=0)
    assert (found.mc.low, found.gen.high) == (0, 100)
    assert found.mc.high > 5


def test_differences_add_both_models_errors():
    other = {"a": Score(58.0, 2.0), "b": Score(49.0, 1.0)}
    found = difference_intervals((MC, {}), (other, {}), seed=0, draws=200_000)
    width = math.hypot(exact_width(MC), exact_width(other))
    assert found.mc.value == pytest.approx(1.5)
    assert (found.mc.low, found.mc.high) == pytest.approx((1.5 - width, 1.5 + width), abs=0.04)
    assert (found.gen, found.avg) == (None, None)


def test_the_difference_of_a_model_and_itself_is_no_certainty():
    # two evaluations of equal models need not agree: independent draws, not the same ones twice
    found = difference_intervals((MC, GEN), (MC, GEN), seed=0)
    assert found.avg.value == 0
    assert found.avg.low < -1 < 1 < found.avg.high


def test_models_of_other_tasks_are_not_compared():
    with pytest.raises(ValueError, match="scores of a, b"):
        difference_intervals((MC, GEN), ({}, GEN), seed=0)
