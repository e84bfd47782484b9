"""Figure 5."""

import numpy as np
import pytest

from ream.analysis.figures.ranks import rank_against_scores
from ream.analysis.numbers.ranks import RankPoint
from ream.analysis.tables.ranks import table_of_ranks
from tests.analysis.figures.drawn import data, legend, line_of, row


def test_figure_5_draws_points_and_the_line_through_them():
    # GEN = 2 · rank + 1 on a line; MC constant; the original off the line is not in the fit
    points = [RankPoint(row(gen=2.0 * rank + 1), rank) for rank in (10.0, 20.0, 15.0)]
    points += [RankPoint(row("reap", gen=61.0), 30.0), RankPoint(row("original", gen=99.0), 12.0)]
    figure = rank_against_scores(points)
    assert [axis.get_ylabel() for axis in figure.axes] == ["MC (%)", "GEN (%)"]  # no AVG is known
    mc, gen = figure.axes
    assert data(line_of(gen, "ream")) == [(10, 21), (20, 41), (15, 31)]
    assert data(line_of(gen, "reap")) == [(30, 61)]
    assert data(line_of(gen, "original")) == [(12, 99)]
    (fit,) = [line for line in gen.lines if line.get_linestyle() == "--"]
    assert np.allclose(data(fit), [(10, 21), (30, 61)])
    assert gen.get_title() == "r = 1.00 (1.00 to 1.00)"
    assert mc.get_title() == "r is not defined: a column is constant"
    assert legend(figure) == ["reap", "ream", "original"]
    assert table_of_ranks(points).rows[3:] == (
        ("reap", "1:1", 8, "ours", 30.0, 50.0, 61.0, None), ("original", "1:1", 8, "ours", 12.0, 50.0, 99.0, None)
    )  # fmt: skip


def test_figure_5_without_spread_has_no_line():
    axis = rank_against_scores([RankPoint(row(), 10.0), RankPoint(row(gen=41.0), 10.0)]).axes[1]
    assert axis.get_title() == ""
    assert not [line for line in axis.lines if line.get_linestyle() == "--"]
    with pytest.raises(ValueError, match="no model"):
        rank_against_scores([RankPoint(row(mc=None, gen=None), 10.0)])
