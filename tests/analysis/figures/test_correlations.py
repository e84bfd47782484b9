"""Figure 3a."""

import pytest

from ream.analysis.figures.correlations import correlation_dots
from ream.analysis.numbers.mixes import correlations_of, series_of
from ream.analysis.results.published import load_published
from tests.analysis.figures.drawn import FOLDER, data, line_of, row


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_figure_3a_draws_every_correlation_with_its_interval(published):
    figure = correlation_dots(published.mixes, 96)
    axis = figure.axes[0]
    pairs = [text.get_text() for text in axis.get_yticklabels()]
    assert pairs == ["general, MC", "general, GEN", "math, MC", "math, GEN", "code, MC", "code, GEN", "MC, GEN"]
    lines = [data(line) for line in axis.lines if line.get_linestyle() == "-" and len(line.get_data()[0]) == 2]
    bars = {((low, high), y) for (low, y), (high, _) in lines if low != high}
    for series, points in series_of(published.mixes, 96).items():
        correlations = correlations_of(points)
        dots = data(line_of(axis, series.method))
        assert [x for x, _ in dots] == [correlations[tuple(pair.split(", "))].r for pair in pairs]
        for place, ((_, y), pair) in enumerate(zip(dots, pairs, strict=True)):
            value = correlations[tuple(pair.split(", "))]
            assert round(y) == place
            assert ((value.low, value.high), y) in bars
    assert len(bars) == 28


def test_a_correlation_that_is_not_defined_says_why():
    rows = [row(mc=60.0, gen=value, math=share, code=1 - share) for value, share in ((1.0, 0.1), (2.0, 0.5), (3.0, 0.7),
                                                                                     (5.0, 0.8))]  # fmt: skip
    axis = correlation_dots(rows, 8).axes[0]
    assert [text.get_text() for text in axis.texts] == ["ream: a column is constant"] * 3  # MC with each of the others
    assert len(data(line_of(axis, "ream"))) == 2
