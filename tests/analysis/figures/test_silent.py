"""Figures that say nothing on a grid."""

import numpy as np

from ream.analysis.figures.silent import silent_correlations, silent_fronts, silent_group_sizes, silent_ranks
from ream.analysis.numbers.mixes import series_of
from ream.analysis.numbers.ranks import RankPoint
from tests.analysis.figures.drawn import row


def mixes(count):
    return series_of([row(math=number + 1.0, code=1.0, mc=50.0 + number) for number in range(count)], 8)


def test_one_rank_of_all_models_says_nothing():
    assert silent_ranks([RankPoint(row(), 128.0), RankPoint(row("reap"), 128.0)], "numerical") == (
        "the numerical rank of all models is 128"
    )
    assert silent_ranks([RankPoint(row(), 128.0), RankPoint(row("reap"), 127.5)], "numerical") is None


def test_correlations_need_four_mixes():
    assert silent_correlations(mixes(3)) == "3 mixes give no interval, 4 would"
    assert silent_correlations(mixes(1)) == "one mix gives no interval, 4 would"
    assert silent_correlations(mixes(4)) is None


def test_a_front_needs_two_mixes():
    assert silent_fronts(mixes(1)) == "every method has one mix"
    assert silent_fronts(mixes(2)) is None


def test_group_sizes_need_a_group():
    assert silent_group_sizes([np.ones((2, 3), int)]) == "no method merges experts"
    assert silent_group_sizes([np.ones((2, 3), int), np.array([[2, 1]])]) is None
