"""The surrogate of mixes against the polynomial that made the values, and its intervals against simple regression."""

import numpy as np
import pytest
from scipy.stats import linregress, t

from ream.analysis.numbers.scheffe import effects, fitted

NAMES = ("general", "math", "code")


def polynomial(ratios):
    a, b, c = ratios.T
    return 2 * a + 3 * b + 5 * c - 4 * a * b + 1.5 * b * c


def test_a_polynomial_is_found_again(rng):
    ratios = rng.dirichlet(np.ones(3), size=25)
    surrogate = fitted(ratios, polynomial(ratios))
    assert surrogate.coefficients == pytest.approx([2, 3, 5, -4, 0, 1.5], abs=1e-8)
    assert surrogate.explained == pytest.approx(1)
    assert surrogate.freedom == 19
    other = rng.dirichlet(np.ones(3))
    assert surrogate.at(other) == pytest.approx(float(polynomial(other[None])[0]))


def test_effects_are_differences_along_coxs_direction(rng):
    ratios = rng.dirichlet(np.ones(3), size=25)
    found = effects(fitted(ratios, polynomial(ratios)), NAMES)
    for place, name in enumerate(NAMES):
        direction = np.full(3, -0.5)
        direction[place] = 1
        ends = np.array([np.full(3, 1 / 3) + step * direction for step in (1e-4, -1e-4)])
        slope = (polynomial(ends)[0] - polynomial(ends)[1]) / 2e-4
        assert found[name].value == pytest.approx(0.1 * slope, abs=1e-6)
        assert found[name].low == pytest.approx(found[name].high, abs=1e-6)


def test_with_few_mixes_of_two_sources_it_is_a_straight_line(rng):
    """Without products, y over the first share is a line: its slope and Student's interval are scipy's."""
    share = np.array([0.0, 0.2, 0.5, 0.7, 1.0])
    values = 3 - share + rng.normal(0, 0.1, 5)
    surrogate = fitted(np.column_stack([share, 1 - share]), values)
    assert len(surrogate.coefficients) == 2
    line, found = linregress(share, values), effects(surrogate, ("one", "other"))
    width = t.ppf(0.975, 3) * line.stderr
    assert found["one"].value == pytest.approx(0.1 * line.slope)
    assert (found["one"].low, found["one"].high) == pytest.approx(
        (0.1 * (line.slope - width), 0.1 * (line.slope + width))
    )
    assert found["other"].value == pytest.approx(-found["one"].value)
    assert surrogate.explained == pytest.approx(line.rvalue**2)


def test_no_freedom_gives_no_interval():
    found = effects(fitted(np.eye(2), np.array([1.0, 2.0])), ("one", "other"))
    assert found["one"].value == pytest.approx(-0.1)
    assert found["one"].low is None
