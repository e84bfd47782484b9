from pathlib import Path

import numpy as np
import pytest

from ream.analysis.figures.ablations import ablation_differences, differences, mean_intervals
from ream.analysis.figures.held_out_loss import overview, save
from ream.analysis.figures.ranks import RankPoint, rank_against_scores, table_of_ranks
from ream.analysis.figures.style import KNOWN, WIDTH, distinct, styles
from ream.analysis.figures.trade_off import area, correlation_dots, pareto_fronts, trade_off
from ream.analysis.numbers.group_sizes import group_sizes, size_curves, table_of_sizes
from ream.analysis.numbers.mixes import Series, correlations_of, fronts_of, series_of
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Row, Score
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.evaluation.scores import Cell

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def row(method="ream", mc=50.0, gen=40.0, origin="ours", experts=8, model="m", avg=None, **ratios):
    return Row(origin, model, method, experts, ratios or {"math": 1.0, "code": 1.0}, mc=mc, gen=gen, avg=avg)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line_of(axis, label):
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return line


def data(line):
    return list(zip(*(np.asarray(part, dtype=float).tolist() for part in line.get_data()), strict=True))


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


def test_figure_3a_draws_every_correlation_with_its_interval(published):
    figure = correlation_dots(published.mixes, 96)
    axis = figure.axes[0]
    pairs = [text.get_text() for text in axis.get_yticklabels()]
    assert pairs == ["general, MC", "general, GEN", "math, MC", "math, GEN", "code, MC", "code, GEN", "MC, GEN"]
    lines = [data(line) for line in axis.lines if line.get_linestyle() == "-" and len(line.get_data()[0]) == 2]
    bars = {((low, high), y) for (low, y), (high, _) in lines if low != high}
    for series, points in series_of(published.mixes, 96).items():
        found = correlations_of(points)
        dots = data(line_of(axis, series.method))
        assert [x for x, _ in dots] == [found[tuple(pair.split(", "))].r for pair in pairs]
        for place, ((_, y), pair) in enumerate(zip(dots, pairs, strict=True)):
            value = found[tuple(pair.split(", "))]
            assert round(y) == place
            assert ((value.low, value.high), y) in bars
    assert len(bars) == 28


def test_a_correlation_that_is_not_defined_says_why():
    rows = [row(mc=60.0, gen=value, math=share, code=1 - share) for value, share in ((1.0, 0.1), (2.0, 0.5), (3.0, 0.7),
                                                                                     (5.0, 0.8))]  # fmt: skip
    axis = correlation_dots(rows, 8).axes[0]
    assert [text.get_text() for text in axis.texts] == ["ream: a column is constant"] * 3  # MC with each of the others
    assert len(data(line_of(axis, "ream"))) == 2


def test_figure_3b_draws_the_fronts_and_names_their_hypervolume(published):
    figure = pareto_fronts(published.mixes, 96)
    series = series_of(published.mixes, 96)
    for one, front in fronts_of(series).items():
        line = line_of(figure.axes[0], f"{one.method}: HV {front.hypervolume:.1f}, {front.size}/10")
        members = data(line)
        assert sorted(members) == members == sorted(map(tuple, series[one].points[front.members].tolist()))
        # a step before each point, at its own GEN: the edge of what the front dominates
        assert line.get_drawstyle() == "steps-pre"
        assert [gen for _, gen in members] == sorted((gen for _, gen in members), reverse=True)
    assert legend(figure)[3] == "ream: HV 919.9, 6/10"


def test_mixes_without_points_are_refused(published):
    for draw in (trade_off, correlation_dots, pareto_fronts):
        with pytest.raises(ValueError, match="no mix has both MC and GEN at 7 experts"):
            draw(published.mixes, 7)


def test_figure_4a_draws_differences_at_the_same_mix(published):
    found = differences(published.ablations, "gen")
    assert found[Series("ream-one-shot", "paper")] == pytest.approx(
        {"0:0.3:0.7": 69.0 - 72.9, "0.1:0.1:0.8": 68.0 - 68.8, "0.2:0.25:0.55": 69.7 - 67.7}
    )
    assert found[Series("ream-no-gate-logits", "paper")] == pytest.approx(
        {"0:0.3:0.7": 0.0, "0.1:0.1:0.8": 66.9 - 68.8, "0.2:0.25:0.55": 69.3 - 67.7}
    )
    assert len(found) == 2
    assert differences(published.ablations, "mc") == {}
    figure = ablation_differences(published.ablations)
    (axis,) = figure.axes  # GEN alone is printed
    assert [text.get_text() for text in axis.get_yticklabels()] == ["no-gate-logits", "one-shot"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([-0.1, -0.9])
    assert figure.legends[0].get_title().get_text() == "mix"  # no standard errors are printed
    drawn = {(round(y), round(x, 6)) for line in axis.lines if line.get_linestyle() == "None" for x, y in data(line)}
    assert drawn == {(0, 0.0), (0, -1.9), (0, 1.6), (1, -3.9), (1, -0.8), (1, 2.0)}
    assert legend(figure) == ["0:0.3:0.7", "0.1:0.1:0.8", "0.2:0.25:0.55"]


def test_variants_compare_with_the_whole_method_of_the_same_size_and_origin():
    rows = [row(gen=50.0), row(gen=40.0, experts=4), row("ream-one-shot", gen=49.0),
            row("ream-one-shot", gen=38.0, experts=4), row("ream-one-shot", gen=10.0, origin="paper"),
            row("ream-released", gen=1.0), row("ream-refit", gen=60.0), row("reap", gen=1.0)]  # fmt: skip
    assert differences(rows, "gen") == {Series("ream-one-shot", "ours"): {"1:1 (8)": -1.0, "1:1 (4)": -2.0}}
    with pytest.raises(ValueError, match="no variant of ream"):
        ablation_differences([row(), row("reap")])
    with pytest.raises(ValueError, match="several models"):
        differences([row(), row("ream-one-shot", model="n")], "gen")


def measured(method, gen, stderr, origin="ours", mc=50.0, **ratios):
    """A row of one task a suite, with the same standard error."""
    suites = {"mc_tasks": {"a": Score(mc, stderr)}, "gen_tasks": {"b": Score(gen, stderr)}}
    return Row(origin, "m", method, 8, ratios, mc=mc, gen=gen, **suites)


def segments(axis):
    """Lines of two points across or up and down, as (low, high) ends rounded to whole points."""
    return [tuple((round(float(x)), round(float(y))) for x, y in data(line))
            for line in axis.lines if len(line.get_xdata()) == 2]  # fmt: skip


def test_figure_2_crosses_points_with_their_intervals_where_errors_are_known():
    # ± 1.96 · 5.1 = 10 and, for the original, ± 1.96 · 2.55 = 5
    rows = [measured("ream", 40.0, 5.1, math=1.0, code=1.0), measured("original", 80.0, 2.55, mc=70.0),
            measured("ream", 45.0, None, "paper", mc=55.0, math=1.0, code=1.0)]  # fmt: skip
    axis = trade_off(rows, 8).axes[0]
    assert segments(axis) == [((40, 40), (60, 40)), ((50, 30), (50, 50)), ((65, 80), (75, 80)), ((70, 75), (70, 85))]
    assert trade_off(rows[2:], 8).axes[0].lines[:] == []


def test_bars_of_figure_4a_have_intervals_where_errors_are_known():
    even, code = {"math": 1.0, "code": 1.0}, {"code": 1.0}
    rows = [measured("ream", 50.0, 3.0, **even), measured("ream", 50.0, 3.0, **code),
            measured("ream-one-shot", 48.0, 4.0, **even), measured("ream-one-shot", 38.0, 4.0, **code),
            measured("ream-ungated", 51.0, None, **even)]  # fmt: skip
    # a bar at −7, ± 1.96 · hypot(3, 4) = 9.8 however many mixes: the questions are the same
    found = mean_intervals(rows, "gen")
    assert list(found) == [Series("ream-one-shot", "ours")]
    interval = found[Series("ream-one-shot", "ours")]
    assert (interval.low, interval.value, interval.high) == (
        pytest.approx(-16.8, abs=0.2),
        -7,
        pytest.approx(2.8, abs=0.2),
    )
    figure = ablation_differences(rows)
    gen = figure.axes[1]
    assert figure.legends[0].get_title().get_text() == "mix; black: 95% interval of the mean"
    assert ((-17, 0), (3, 0)) in segments(gen)
    assert not any(y == 1 for line in segments(gen) for _, y in line if line[0][0] != line[1][0])


def recipe(*layers):
    """Layers as lists of the group of each expert; a group's first expert is its centroid."""
    made = {}
    for index, group in enumerate(layers):
        kept = np.array([group.index(position) for position in range(max(group) + 1)])
        zeros = np.zeros(len(group))
        made[index] = LayerRecipe(Groups(kept, np.array(group)), zeros, zeros)
    return Recipe(made, {})


def test_group_sizes_by_hand():
    # layer 0: groups of 1, 3, 1 experts and one dropped; layer 1: 2, 2, 2
    assert group_sizes(recipe([0, 1, 1, 2, 1, -1], [0, 0, 1, 1, 2, 2])).tolist() == [[3, 1, 1], [2, 2, 2]]
    with pytest.raises(ValueError, match="one number of experts"):
        group_sizes(recipe([0, 1], [0, 0]))
    with pytest.raises(ValueError, match="one number of experts"):
        group_sizes(recipe())


def test_figure_1a_draws_mean_sizes_and_the_layers_range():
    sizes = {"ream": np.array([[3, 1, 1], [5, 2, 1]]), "reap": np.ones((2, 3), dtype=int)}
    axis = size_curves(sizes).axes[0]
    assert data(line_of(axis, "ream")) == [(1, 4.0), (2, 1.5), (3, 1.0)]
    assert data(line_of(axis, "reap")) == [(1, 1.0), (2, 1.0), (3, 1.0)]
    band = {tuple(point) for point in axis.collections[1].get_paths()[0].vertices.tolist()}
    assert band >= {(1.0, 3.0), (1.0, 5.0), (2.0, 1.0), (2.0, 2.0), (3.0, 1.0)}
    assert table_of_sizes(sizes).rows == (
        ("reap", 1, 1.0, 1, 1), ("reap", 2, 1.0, 1, 1), ("reap", 3, 1.0, 1, 1),
        ("ream", 1, 4.0, 3, 5), ("ream", 2, 1.5, 1, 2), ("ream", 3, 1.0, 1, 1),
    )  # fmt: skip
    with pytest.raises(ValueError, match="one number of experts"):
        size_curves({"a": np.ones((1, 2), dtype=int), "b": np.ones((1, 3), dtype=int)})


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


def test_known_methods_look_the_same_in_every_figure():
    every = styles([*KNOWN, "ream-a", "other"])
    assert all(every[method] == styles([method])[method] for method in KNOWN)
    assert len(set(every.values())) == len(every) == len(KNOWN) + 2
    assert len(set(distinct(81))) == 81


def test_figures_have_a_phones_width_and_the_same_bytes_each_time(published, tmp_path):
    for suffix in ("svg", "png"):
        content = []
        for turn in range(2):
            figure = pareto_fronts(published.mixes, 96)
            assert figure.get_figwidth() == WIDTH < 4.5
            save(figure, tmp_path / f"{turn}.{suffix}")
            content.append((tmp_path / f"{turn}.{suffix}").read_bytes())
        assert content[0] == content[1]
        assert b"dc:date" not in content[0]


def test_the_overview_draws_a_line_from_the_original_in_the_methods_colour():
    cells = [Cell(mix=None, method=None, experts=8, parameters=9_000_000, gen=60.0)]
    cells += [Cell(mix="even", method=method, experts=size, parameters=size * 1_000_000, gen=10.0 * size + shift)
              for method, shift in (("reap", 0), ("ream", 1)) for size in (4, 2)]  # fmt: skip
    (axis,) = overview(cells).axes  # GEN alone is known
    assert data(line_of(axis, "ream")) == [(2, 21), (4, 41), (9, 60)]
    assert data(line_of(axis, "original")) == [(9, 60)]
    assert {method: line_of(axis, method).get_color() for method in ("ream", "reap")} == {
        method: style.colour for method, style in styles(["reap", "ream"]).items()
    }
