"""Mixes as points of a cube, against the definition of broken sticks and the uniform distribution on a simplex."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ream.search.simplex import ratios_of, rounded, units_of

UNITS = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(UNITS)
def test_ratios_are_a_mix_and_lead_back_to_the_point(units):
    ratios = ratios_of(units)
    assert len(ratios) == len(units) + 1
    assert min(ratios) >= 0
    assert sum(ratios) == pytest.approx(1)
    assert ratios_of(units_of(ratios)) == pytest.approx(ratios, abs=1e-9)


def test_a_stick_by_hand():
    """Of three sources: u = 3/4 breaks off 1 − √(1/4) = 1/2; u = 1/2 then half of the other half."""
    assert ratios_of([0.75, 0.5]) == pytest.approx((0.5, 0.25, 0.25))
    assert units_of([0.5, 0.25, 0.25]) == pytest.approx((0.75, 0.5))
    assert units_of([0, 3, 1]) == pytest.approx((0, 0.75)), "ratios need not sum to 1"


def test_corners_of_the_simplex_are_points_of_the_cube():
    for place in range(4):
        alone = tuple(float(other == place) for other in range(4))
        assert ratios_of(units_of(alone)) == alone


def test_uniform_points_give_uniform_mixes(rng):
    """Every share of a uniform mix of S has mean 1/S and variance (S − 1) / (S² (S + 1))."""
    mixes = np.array([ratios_of(units) for units in rng.random((20_000, 3))])
    assert mixes.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.006)
    assert mixes.var(axis=0) == pytest.approx([3 / (16 * 5)] * 4, rel=0.06)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=6).filter(lambda ratios: sum(ratios) > 1e-3))
def test_rounded_mixes_are_thousandths_that_sum_to_one(ratios):
    thousandths = [1000 * ratio for ratio in rounded(ratios)]
    assert thousandths == pytest.approx([round(ratio) for ratio in thousandths])
    assert sum(round(ratio) for ratio in thousandths) == 1000
    assert [ratio / 1000 for ratio in thousandths] == pytest.approx([ratio / sum(ratios) for ratio in ratios], abs=1e-3)
