import math

import numpy as np
import pytest

from ream.analysis.numbers.intervals import Estimate, difference_intervals, mean_of, score_intervals
from ream.analysis.results.rows import Score

NORMAL_975 = 1.959964


def half_width(scores):
    """Half the 95% interval of a mean of independent normal scores."""
    return NORMAL_975 * math.sqrt(sum(score.stderr**2 for score in scores.values())) / len(scores)


MC = {"a": Score(60.0, 1.0), "b": Score(50.0, 2.0)}
GEN = {"c": Score(40.0, 3.0), "d": Score(30.0, 4.0), "e": Score(20.0, 0.5)}


def test_intervals_are_those_of_means_of_normal_scores():
    # MC = 55, half-width 1.96 · sqrt(1 + 4) / 2 = 2.191; GEN = 30; AVG = 42.5 from both together
    intervals = score_intervals(MC, GEN)
    for interval, value, width in (
        (intervals.mc, 55.0, half_width(MC)),
        (intervals.gen, 30.0, half_width(GEN)),
        (intervals.avg, 42.5, math.hypot(half_width(MC), half_width(GEN)) / 2),
    ):
        assert interval.value == pytest.approx(value, rel=1e-12)
        assert (interval.low, interval.high) == pytest.approx((value - width, value + width), abs=1e-5)
    assert intervals.exact == ()


def drawn(mc, gen, rng, draws=1_000_000):
    """MC, GEN and AVG of a parametric bootstrap: each task drawn from a normal distribution around its score."""
    mc_means, gen_means = (
        sum(score.value + score.stderr * rng.standard_normal(draws) for score in tasks.values()) / len(tasks)
        for tasks in (mc, gen)
    )
    return mc_means, gen_means, (mc_means + gen_means) / 2


@pytest.mark.parametrize(
    ("mc", "gen"),
    [
        ({"a": Score(60.0, 0.4), "b": Score(50.0, 0.9)}, {"c": Score(40.0, 1.1), "d": Score(30.0, 1.2)}),
        ({"a": Score(0.4, 0.3)}, {"c": Score(99.7, 0.5)}),  # cut off at 0 and at 100
        ({name: Score(70.0, 1.0) for name in "abcdefgh"}, {"c": Score(40.0, 0.0), "d": Score(30.0, 1.5)}),
    ],
)
def test_intervals_agree_with_a_bootstrap_to_two_decimals(rng, mc, gen):
    # a quantile of a million draws has a standard error of 0.0027 of the mean's error, which is 0.75 at most here
    intervals = score_intervals(mc, gen)
    other = {name: Score(score.value + 1, 0.7) for name, score in mc.items()}
    means, others = drawn(mc, gen, rng), drawn(other, gen, rng)
    between = difference_intervals((mc, gen), (other, gen))
    for kind, of_kind, of_other in zip(("mc", "gen", "avg"), means, others, strict=True):
        for interval, values, scale in (
            (getattr(intervals, kind), of_kind, (0, 100)),
            (getattr(between, kind), of_kind - of_other, (-100, 100)),
        ):
            expected = np.clip(np.quantile(values, [0.025, 0.975]), *scale)
            assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.01)


def test_confidence_widens_an_interval():
    narrow, wide = (score_intervals(MC, {}, confidence).mc for confidence in (0.6826895, 0.95))
    assert narrow.high - narrow.low == pytest.approx(math.sqrt(5), abs=1e-6)  # one standard error to each side
    assert wide.high - wide.low == pytest.approx(2 * half_width(MC), abs=1e-5)


def test_the_order_of_tasks_changes_nothing():
    assert score_intervals(MC, GEN) == score_intervals(dict(reversed(MC.items())), dict(reversed(GEN.items())))


def test_a_suite_without_one_kind_has_no_interval_of_it():
    intervals = score_intervals({}, GEN)
    assert (intervals.mc, intervals.avg, intervals.gen.value) == (None, None, 30)


def test_tasks_without_standard_error_are_exact_and_named():
    intervals = score_intervals({"a": Score(60.0), "b": Score(50.0)}, {"c": Score(40.0, 0.0)})
    assert (intervals.mc.low, intervals.mc.high, intervals.gen.low) == (55, 55, 40)
    assert intervals.exact == ("a", "b")


def test_intervals_stay_on_the_scale():
    intervals = score_intervals({"a": Score(1.0, 5.0)}, {"b": Score(99.0, 5.0)})
    assert (intervals.mc.low, intervals.gen.high) == (0, 100)
    assert intervals.mc.high == pytest.approx(1 + 5 * NORMAL_975, abs=1e-5)


def test_differences_add_both_models_errors():
    other = {"a": Score(58.0, 2.0), "b": Score(49.0, 1.0)}
    intervals = difference_intervals((MC, {}), (other, {}))
    width = math.hypot(half_width(MC), half_width(other))
    assert intervals.mc.value == pytest.approx(1.5, rel=1e-12)
    assert (intervals.mc.low, intervals.mc.high) == pytest.approx((1.5 - width, 1.5 + width), abs=1e-5)
    assert (intervals.gen, intervals.avg) == (None, None)


def test_the_difference_of_a_model_and_itself_has_an_interval():
    # two evaluations of equal models need not agree: their errors are independent
    intervals = difference_intervals((MC, GEN), (MC, GEN))
    width = math.sqrt(2) * math.hypot(half_width(MC), half_width(GEN)) / 2
    assert (intervals.avg.value, intervals.avg.low, intervals.avg.high) == pytest.approx((0, -width, width), abs=1e-5)


def test_models_of_other_tasks_are_not_compared():
    with pytest.raises(ValueError, match="scores of a, b"):
        difference_intervals((MC, GEN), ({}, GEN))


def test_a_mean_needs_a_value():
    assert mean_of([Estimate(1.0, 0.3), Estimate(2.0, 0.4)]) == Estimate(1.5, 0.25)
    with pytest.raises(ValueError, match="at least one value"):
        mean_of([])
