import numpy as np
import pytest

from ream.analysis.numbers.loss_intervals import loss_difference, loss_interval
from ream.evaluation.scores import SourceLoss


def losses(*pairs):
    return {f"s{place}": SourceLoss(loss=loss, stderr=error, tokens=1, sequences=1)
            for place, (loss, error) in enumerate(pairs)}  # fmt: skip


def test_the_interval_is_that_of_drawn_means():
    rng = np.random.default_rng(0)
    values, errors = np.array([2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.3])
    drawn = (values + errors * rng.standard_normal((400_000, 3))).mean(axis=1)
    interval = loss_interval(losses(*zip(values.tolist(), errors.tolist(), strict=True)))
    assert interval.value == 3.0
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=2e-3)


def test_the_difference_by_hand():
    # errors of the means: 0.3 / 1 and 0.4 / 1, of the difference 0.5; 1.959964 of it
    interval = loss_difference(losses((3.0, 0.3)), losses((2.0, 0.4)))
    assert (interval.value, interval.low, interval.high) == pytest.approx((1.0, 1 - 0.979982, 1 + 0.979982), abs=1e-6)


def test_a_loss_is_not_below_zero():
    assert loss_interval(losses((0.1, 1.0))).low == 0


def test_other_sources_or_none_are_refused():
    with pytest.raises(ValueError, match="only one of the two models has a loss on s1"):
        loss_difference(losses((1.0, 0.1)), losses((1.0, 0.1), (2.0, 0.1)))
    with pytest.raises(ValueError, match="needs at least one source"):
        loss_interval({})
