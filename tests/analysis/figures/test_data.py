"""The numbers of the figures, compared with the published rows and with what the figures draw."""

from pathlib import Path

import numpy as np
import pytest

from ream.analysis.figures.data import data_of_mixes, table_of_cells, table_of_differences, table_of_points
from ream.analysis.figures.paper import figures_of_mixes
from ream.analysis.numbers.ablations import differences
from ream.analysis.numbers.mixes import fronts_of, series_of
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Row
from ream.analysis.tables.fronts_and_correlations import table_of_correlations
from ream.evaluation.scores import Cell

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_every_figure_of_the_mixes_has_its_data(published):
    tables = data_of_mixes(published.mixes)
    assert list(tables) == list(figures_of_mixes(published.mixes))
    assert tables["figure-7a"].rows == table_of_correlations(published.mixes, 64, "figure-7a").rows
    assert tables["figure-3b"].rows == tables["figure-2"].rows != tables["figure-6"].rows
    assert {name: table.name for name, table in tables.items()} == {name: name for name in tables}


def test_points_are_the_printed_ones_and_marked_where_the_front_is(published):
    table = table_of_points(published.mixes, 96, "figure-2")
    assert [column.name for column in table.columns] == [
        "method", "results", "mix", "general %", "math %", "code %", "MC", "GEN", "on the front"
    ]  # fmt: skip
    assert table.rows[0] == ("original", "paper", None, None, None, None, 69.7, 70.9, None)
    printed = {(row.method, row.mix): (row.mc, row.gen) for row in published.mixes if row.experts == 96}
    fronts = {one.method: front.size for one, front in fronts_of(series_of(published.mixes, 96)).items()}
    for method, size in fronts.items():
        lines = [line for line in table.rows if line[0] == method]
        own = {mix: means for (of, mix), means in printed.items() if of == method}
        assert {line[2]: line[6:8] for line in lines} == {
            mix: means for mix, means in own.items() if mix not in ("1:0:0", "0:1:0", "0:0:1")
        }
        assert sum(line[8] == "yes" for line in lines) == size
        for line in lines:
            ratios = np.array([float(part) for part in line[2].split(":")])
            assert line[3:6] == pytest.approx(100 * ratios / ratios.sum())
            better = [
                other for other in lines if other[6] >= line[6] and other[7] >= line[7] and other[6:8] != line[6:8]
            ]
            assert line[8] == ("no" if better else "yes")


def test_differences_are_those_of_figure_4a(published):
    table = table_of_differences(published.ablations)
    expected = [
        (series.method, "paper", mix, "GEN", value)
        for series, values in differences(published.ablations, "gen").items()
        for mix, value in values.items()
    ]
    assert list(table.rows) == expected
    assert ("ream-one-shot", "paper", "0:0.3:0.7", "GEN", 69.0 - 72.9) in table.rows


def test_models_without_both_means_have_no_points():
    rows = [Row("ours", "m", "ream", 8, {"a": 1.0, "b": 1.0}, gen=50.0)]
    assert data_of_mixes(rows) == {}


def test_measures_that_no_cell_has_are_left_out():
    cells = [Cell(mix=None, method=None, experts=8, parameters=10, gen=50.0),
             Cell(mix="even", method="ream", experts=4, parameters=6, mean_loss=2.5)]  # fmt: skip
    table = table_of_cells(cells)
    assert [column.name for column in table.columns] == ["mix", "method", "experts", "parameters", "mean loss", "GEN"]
    assert table.rows == ((None, "original", 8, 10, None, 50.0), ("even", "ream", 4, 6, 2.5, None))
