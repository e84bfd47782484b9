"""The overview."""

from pathlib import Path

import numpy as np
import pytest

from ream.analysis.figures.data import table_of_overview
from ream.analysis.figures.files import save
from ream.analysis.figures.overview import overview_of_models
from ream.analysis.figures.style import MARKERS, WIDTH, styles
from ream.analysis.results.published import load_parameters, load_published
from tests.analysis.numbers.test_overview import row

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


@pytest.fixture(scope="module")
def parameters():
    return load_parameters(FOLDER / "parameters.csv")


def original(**changes):
    return row(**({"method": "original", "experts": 16, "parameters": 20_000_000, "gen": 80.0, "mc": 90.0} | changes))


def drawn(axis, linestyle):
    """Colour and points of the lines of one style; points to 6 digits."""
    return [(line.get_color(), [tuple(np.round(point, 6).tolist()) for point in line.get_xydata()])
            for line in axis.lines if line.get_linestyle() == linestyle]  # fmt: skip


def markers(axis):
    return [(tuple(np.round(line.get_xydata()[0], 6).tolist()), line.get_marker(), line.get_color(),
             line.get_markerfacecolor()) for line in axis.lines if line.get_linestyle() == "None"]  # fmt: skip


def test_a_line_leads_from_the_original_through_a_methods_sizes():
    rows = [original(), row(parameters=12_000_000), row(experts=4, parameters=9_000_000, gen=30.0, mc=45.0),
            row("reap", parameters=12_000_000, gen=42.0), original(model="n", parameters=30_000_000),
            row(model="n", parameters=18_000_000, gen=70.0)]  # fmt: skip
    figure = overview_of_models(rows, {})
    code, mc = figure.axes
    look = {method: style.colour for method, style in styles(["ream", "reap"]).items()}
    assert drawn(code, "-") == [
        (look["reap"], [(20, 80), (12, 42)]),
        (look["ream"], [(20, 80), (12, 40), (9, 30)]),
        (look["ream"], [(30, 80), (18, 70)]),
    ]
    assert drawn(mc, "-")[1] == (look["ream"], [(20, 90), (12, 50), (9, 45)])
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log"]
    assert [axis.get_title() for axis in figure.axes] == ["GEN (%)", "MC (%)"]
    assert mc.get_xlabel() == "total parameters (million)"
    # a marker a model, the originals black, ours filled
    assert markers(code) == [
        ((12, 42), MARKERS[0], look["reap"], look["reap"]), ((12, 40), MARKERS[0], look["ream"], look["ream"]),
        ((9, 30), MARKERS[0], look["ream"], look["ream"]), ((20, 80), MARKERS[0], "black", "black"),
        ((18, 70), MARKERS[1], look["ream"], look["ream"]), ((30, 80), MARKERS[1], "black", "black"),
    ]  # fmt: skip
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["reap", "ream", "m", "n", "original"]


def test_other_results_are_hollow_with_other_lines_from_their_own_original():
    rows = [original(), original(origin="paper", gen=81.0)]
    rows += [row(origin=origin, parameters=12_000_000, gen=gen)
             for origin, gen in (("ours", 40.0), ("paper", 44.0), ("old", 43.0))]  # fmt: skip
    figure = overview_of_models(rows, {})
    code = figure.axes[0]
    assert [points for _, points in drawn(code, "--")] == [[(20, 81), (12, 44)]]
    assert [points for _, points in drawn(code, ":")] == [[(12, 43)]]
    assert {point: face for point, _, _, face in markers(code)} == {
        (12, 40): styles(["ream"])["ream"].colour, (20, 80): "black", (12, 44): "white", (20, 81): "white",
        (12, 43): "white",
    }  # fmt: skip
    assert [text.get_text() for text in figure.legends[0].get_texts()][-3:] == ["ours", "paper", "old"]


def test_the_published_models_are_all_there(published, parameters):
    figure = overview_of_models(published.rows, parameters)
    code, mc = figure.axes
    assert code.get_title() == "code: mean of HumanEval and LiveCodeBench (%)"
    # GLM-4.5-Air, REAM: (90.2 + 53.7) / 2
    assert ((81.932186, 71.95), "^") in [place[:2] for place in markers(code)]
    assert len(markers(code)) == 9 + 3 * 3
    assert len(markers(mc)) == 9  # MC is printed for one model
    assert code.get_xlim() == mc.get_xlim() == pytest.approx((16.030316544 / 1.1, 106.852251264 * 1.1))
    assert figure.axes[1].get_xlabel() == "total parameters (billion)"
    assert [tick for tick in mc.get_xticks() if 15 < tick < 117] == [20, 40, 60, 80, 100]
    table = table_of_overview(published.rows, parameters)
    assert (len(table.rows), table.rules) == (18, (9, 12, 15))
    assert table.rows[-1][:6] == ("GLM-4.5-Air", "ream", 96, None, "paper", 81932.185824)


def test_one_originals_methods_have_the_markers_of_all_figures():
    figure = overview_of_models([original(), row(parameters=12_000_000), row("own", parameters=11_000_000)], {}, ["x"])
    look = styles(["ream", "own"], ["x"])
    code = figure.axes[0]
    assert {marker for point, marker, *_ in markers(code) if point[0] < 20} == {one.marker for one in look.values()}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ream", "own", "original"]


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes_at_a_phones_width(published, parameters, tmp_path):
    for suffix in ("svg", "png"):
        content = []
        for turn in range(2):
            figure = overview_of_models(published.rows, parameters)
            assert figure.get_figwidth() == WIDTH
            save(figure, tmp_path / f"{turn}.{suffix}")
            content.append((tmp_path / f"{turn}.{suffix}").read_bytes())
        assert content[0] == content[1]


def test_rows_without_scores_or_parameters_are_refused(published):
    for rows, sizes in (([], {}), (published.mixes, {}), ([row(gen=None, mc=None, parameters=7)], {})):
        with pytest.raises(ValueError, match="no model has both a score and known parameters"):
            overview_of_models(rows, sizes)


def test_a_panel_without_points_is_left_out():
    (axis,) = overview_of_models([row(parameters=7_000_000, mc=None)], {}).axes
    assert axis.get_title() == "GEN (%)"
