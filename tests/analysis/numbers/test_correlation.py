import math

import numpy as np
import pytest

from ream.analysis.numbers.correlation import correlations, pearson, regression


def test_a_correlation_by_hand():
    # x − 2.5 = (−1.5, −.5, .5, 1.5), y − 2.5 = (−1.5, .5, −.5, 1.5): r = (2.25 − .25 − .25 + 2.25) / 5 = 0.8
    # z = atanh 0.8 = ln 3 = 1.0986, width 1.95996 / sqrt(4 − 3): tanh(−0.8614) = −0.6970, tanh(3.0586) = 0.9956
    correlation = pearson(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4]))
    assert (correlation.r, correlation.points, correlation.undefined) == (pytest.approx(0.8), 4, "")
    assert (correlation.low, correlation.high) == (pytest.approx(-0.6970, abs=1e-4), pytest.approx(0.9956, abs=1e-4))


QUANTILES = {0.8: 1.2815515655446004, 0.95: 1.959963984540054}  # of the normal distribution, two-sided


@pytest.mark.parametrize("confidence", QUANTILES)
@pytest.mark.parametrize("n", [4, 10, 33])
def test_correlations_are_those_of_the_definition(rng, n, confidence):
    x = rng.normal(size=n)
    y = 0.5 * x + rng.normal(size=n)
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    covariance, square_x, square_y = (
        math.fsum(a * b for a, b in pairs)
        for pairs in (zip(x - mean_x, y - mean_y, strict=True), zip(x - mean_x, x - mean_x, strict=True),
                      zip(y - mean_y, y - mean_y, strict=True))
    )  # fmt: skip
    r = covariance / math.sqrt(square_x * square_y)
    z, width = math.log((1 + r) / (1 - r)) / 2, QUANTILES[confidence] / math.sqrt(n - 3)
    correlation = pearson(x, y, confidence)
    expected = (r, math.tanh(z - width), math.tanh(z + width))
    assert (correlation.r, correlation.low, correlation.high) == pytest.approx(expected, abs=1e-12)


def test_a_column_that_hardly_varies_has_a_correlation():
    x = np.array([1.0, 2, 3, 4])
    assert pearson(0.5 + 1e-12 * x, np.array([1.0, 3, 2, 4])).r == pytest.approx(0.8, abs=1e-3)


def test_units_do_not_matter(rng):
    x, y = rng.normal(size=(2, 10))
    plain = pearson(x, y)
    for scale in (1e-200, 1e200, 3.0):
        scaled = pearson(x * scale, y)
        assert (scaled.r, scaled.low) == pytest.approx((plain.r, plain.low))
    assert pearson(-x, y).r == pytest.approx(-plain.r)


def test_degenerate_columns_are_named():
    x = np.array([1.0, 2, 3, 4, 5])
    constant = pearson(x, np.full(5, 0.3 / 0.9))
    assert (constant.r, constant.low, constant.undefined) == (None, None, "a column is constant")
    nearly = np.array([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3])
    assert nearly[0] != nearly[1]
    assert pearson(nearly, x).undefined == "a column is constant"
    assert pearson(np.zeros(5), x).undefined == "a column is constant"
    assert pearson(x[:1], x[:1]).undefined == "fewer than 2 points"
    three = pearson(x[:3], np.array([1.0, 3, 2]))
    assert (three.r, three.low, three.undefined) == (pytest.approx(0.5), None, "fewer than 4 points for an interval")


def test_points_on_a_line_have_an_interval_without_width():
    x = np.array([0.1, 0.7, 0.2, 0.3, 0.55])
    rising, falling = pearson(x, 3 * x + 1), pearson(x, 1 - x / 7)
    assert (rising.r, rising.low, rising.high) == (1, 1, 1)
    assert (falling.r, falling.low, falling.high) == (-1, -1, -1)


def test_bad_columns_are_refused():
    with pytest.raises(ValueError, match="2 values cannot correlate with 3"):
        pearson(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        pearson(np.array([1.0, math.inf]), np.zeros(2))


def test_every_pair_of_columns_once(rng):
    columns = {name: rng.normal(size=8) for name in "abc"}
    by_pair = correlations(columns)
    assert list(by_pair) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert by_pair["b", "c"] == pearson(columns["b"], columns["c"])


def test_the_regression_line_by_hand():
    # means 2.5 and 5; Σ(x − 2.5)(y − 5) = 1.5·3 + 0.5·1 + 0.5·1 + 1.5·3 = 10, Σ(x − 2.5)² = 5: slope 2, intercept 0
    line = regression(np.array([1.0, 2, 3, 4]), np.array([2.0, 4, 6, 8]))
    assert (line.slope, line.intercept, line.correlation.r) == pytest.approx((2, 0, 1), abs=1e-12)


def test_the_regression_line_has_the_smallest_squares(rng):
    x = rng.normal(size=12)
    y = 2 * x + rng.normal(size=12)
    line = regression(x, y)
    intercept, slope = np.linalg.lstsq(np.stack([np.ones(12), x], axis=1), y)[0]
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept), abs=1e-12)
    assert line.correlation == pearson(x, y)


def test_no_line_through_one_value_of_x():
    assert regression(np.array([2.0]), np.array([1.0])) is None
    assert regression(np.array([2.0, 2.0]), np.array([1.0, 3.0])) is None
