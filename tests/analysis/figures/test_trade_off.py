"""Figure 2."""

import pytest

from ream.analysis.figures.trade_off import area, trade_off
from ream.analysis.results.published import load_published
from tests.analysis.figures.drawn import FOLDER, legend, measured, row, segments


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_figure_2_draws_every_mix_with_the_area_of_its_code_share(published):
    figure = trade_off(published.mixes, 64)
    axis = figure.axes[0]
    drawn = {
        (round(float(x), 6), round(float(y), 6)): float(size)
        for collection in axis.collections
        if len(collection.get_offsets()) == 10
        for (x, y), size in zip(collection.get_offsets(), collection.get_sizes(), strict=True)
    }
    chosen = [row for row in published.mixes if row.experts == 64 and row.mix != "1:0:0"]
    assert drawn == {(row.mc, row.gen): pytest.approx(area(row.shares["code"])) for row in chosen}
    assert len(drawn) == 40
    assert legend(figure) == ["frequency", "reap", "hc-smoe", "ream", "original", "0% code", "50% code", "100% code"]
    stars = [collection.get_offsets().tolist() for collection in axis.collections if len(collection.get_offsets()) == 1]
    assert stars == [[[69.7, 70.9]]]


def test_our_markers_are_filled_and_the_papers_hollow():
    rows = [row(math=1.0, code=1.0), row(origin="paper", mc=51.0, math=1.0, code=1.0)]
    figure = trade_off(rows, 8)
    by_place = {float(collection.get_offsets()[0][0]): len(collection.get_facecolors())
                for collection in figure.axes[0].collections if len(collection.get_offsets())}  # fmt: skip
    assert by_place == {50.0: 1, 51.0: 0}
    assert legend(figure)[:2] == ["ream (ours)", "ream (paper)"]


def test_figure_2_crosses_points_with_their_intervals_where_errors_are_known():
    # ± 1.96 · 5.1 = 10 and, for the original, ± 1.96 · 2.55 = 5
    rows = [measured("ream", 40.0, 5.1, math=1.0, code=1.0), measured("original", 80.0, 2.55, mc=70.0),
            measured("ream", 45.0, None, "paper", mc=55.0, math=1.0, code=1.0)]  # fmt: skip
    axis = trade_off(rows, 8).axes[0]
    assert segments(axis) == [((40, 40), (60, 40)), ((50, 30), (50, 50)), ((65, 80), (75, 80)), ((70, 75), (70, 85))]
    assert trade_off(rows[2:], 8).axes[0].lines[:] == []
