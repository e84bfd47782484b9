from pathlib import Path

import numpy as np
import pytest

from ream.analysis.figures.held_out_loss import save
from ream.analysis.figures.overview import method_colours, overview_of_models
from ream.analysis.figures.style import COLOURS, KNOWN, MARKERS, WIDTH, styles
from ream.analysis.numbers.overview import CODE, GEN, code_measure, overview_points, table_of_overview
from ream.analysis.results.published import load_parameters, load_published
from ream.analysis.results.rows import Row, Score

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


@pytest.fixture(scope="module")
def parameters():
    return load_parameters(FOLDER / "parameters.csv")


def row(method="ream", gen=40.0, experts=8, model="m", origin="ours", mc=50.0, parameters=None, code=None, **ratios):
    """``code``: (HumanEval, LiveCodeBench)."""
    tasks = {"gsm8k": Score(gen or 0.0)}
    if code is not None:
        tasks |= {"humaneval": Score(code[0]), "livecodebench": Score(code[1])}
    return Row(origin, model, method, experts, ratios, gen_tasks=tasks, mc=mc, gen=gen, parameters=parameters)


def original(**changes):
    return row(**({"method": "original", "experts": 16, "parameters": 20_000_000, "gen": 80.0, "mc": 90.0} | changes))


def drawn(axis, linestyle):
    """Colour and points of the lines of one style; points to 6 digits."""
    return [(line.get_color(), [tuple(np.round(point, 6).tolist()) for point in line.get_xydata()])
            for line in axis.lines if line.get_linestyle() == linestyle]  # fmt: skip


def markers(axis):
    return [(tuple(np.round(line.get_xydata()[0], 6).tolist()), line.get_marker(), line.get_color(),
             line.get_markerfacecolor()) for line in axis.lines if line.get_linestyle() == "None"]  # fmt: skip


def test_the_mix_of_highest_gen_stands_for_a_method():
    rows = [row(gen=40.0, parameters=7, mc=60.0, math=1.0), row(gen=41.0, parameters=7, mc=30.0, code=(1.0, 2.0)),
            *(row(gen=None, experts=4, parameters=5, mc=mc) for mc in (20.0, 21.0, 19.0))]  # fmt: skip
    points = overview_points(rows, {})
    assert [(point.row, point.parameters, point.code, point.mc) for point in points] == [
        (rows[1], 7, 41.0, 30.0), (rows[3], 5, None, 21.0)
    ]  # fmt: skip


def test_code_is_shown_where_all_rows_have_its_tasks():
    rows = [row(code=(90.0, 40.0), parameters=7), row("reap", gen=None, parameters=7)]
    assert code_measure(rows) == CODE
    assert [point.code for point in overview_points(rows, {})] == [None, 65.0]
    rows.append(row("ean", gen=30.0, parameters=7))
    assert code_measure(rows) == GEN
    assert [point.code for point in overview_points(rows, {})] == [30.0, None, 40.0]
    assert code_measure([]) == GEN


def test_parameters_are_the_rows_own_or_of_the_same_model_and_size():
    rows = [row(parameters=7, model="org/m@main"), row(origin="paper"), row(origin="paper", experts=4),
            row(origin="paper", experts=2), row("ream-one-shot", parameters=7)]  # fmt: skip
    found = [
        (point.row.origin, point.row.experts, point.parameters) for point in overview_points(rows, {("x/M", 4): 5})
    ]
    assert found == [("ours", 8, 7), ("paper", 8, 7), ("paper", 4, 5)]


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


def test_other_results_are_hollow_with_lines_of_their_own_from_their_own_original():
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


def test_no_two_methods_share_a_colour_while_there_are_colours():
    methods = ["ream", "ream-released", "reap", "own"]
    found = method_colours(methods)
    assert list(found) == ["reap", "ream", "ream-released", "own"]
    assert len(set(found.values())) == 4
    assert all(found[method] == styles([method])[method].colour for method in ("ream", "reap"))
    assert set(method_colours([*KNOWN, "own"]).values()) == set(COLOURS)


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
