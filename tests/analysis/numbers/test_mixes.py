import csv
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from ream.analysis.numbers.mixes import Series, correlations_of, fronts_of, series_of
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Row
from ream.analysis.tables.formats import csv_text
from ream.analysis.tables.fronts_and_correlations import table_of_correlations, table_of_fronts

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def rows():
    return load_published(FOLDER).mixes


def row(method="ream", mc=1.0, gen=1.0, origin="ours", experts=8, model="m", **ratios):
    return Row(origin, model, method, experts, ratios or {"math": 1.0, "code": 1.0}, mc=mc, gen=gen)


@pytest.mark.parametrize("experts", [96, 64])
def test_every_published_method_has_ten_points(rows, experts):
    series = series_of(rows, experts)
    assert list(series) == [Series(method, "paper") for method in ("frequency", "reap", "hc-smoe", "ream")]
    for points in series.values():
        assert points.points.shape == (10, 2)
        assert sum(points.shares.values()) == pytest.approx(np.ones(10))


def test_correlations_of_the_published_mixes_are_those_of_the_file(rows):
    with open(FOLDER / "mixes.csv") as file:
        lines = [line for line in csv.DictReader(file) if (line["experts"], line["method"]) == ("96", "hc-smoe")]
    ratios = np.array([[float(line[f"{source}_ratio"]) for source in ("general", "math", "code")] for line in lines])
    shares = ratios / ratios.sum(axis=1, keepdims=True)
    correlations = correlations_of(series_of(rows, 96)[Series("hc-smoe", "paper")])
    assert set(correlations) == {*((source, mean) for source in ("general", "math", "code") for mean in ("MC", "GEN")),
                          ("MC", "GEN")}  # fmt: skip
    for place, source in enumerate(("general", "math", "code")):
        for mean in ("MC", "GEN"):
            expected = pearsonr(shares[:, place], [float(line[mean]) for line in lines])
            interval = expected.confidence_interval()
            value = correlations[source, mean]
            assert (value.r, value.low, value.high) == pytest.approx(
                (expected.statistic, interval.low, interval.high), abs=1e-9
            )


def test_the_papers_trade_off_is_in_its_numbers(rows):
    # general text buys MC, code buys GEN, for the methods of the paper's own family at both sizes
    for experts in (96, 64):
        series = series_of(rows, experts)
        for method in ("reap", "ream"):
            correlations = correlations_of(series[Series(method, "paper")])
            assert correlations["general", "MC"].low > 0.5
            assert correlations["code", "GEN"].r > 0.4
            assert correlations["MC", "GEN"].high < -0.5


def test_rows_without_both_means_or_of_one_source_are_left_out():
    chosen = row(mc=3.0, gen=4.0)
    others = [row(experts=4), row("original"), row(math=1.0), row(math=1.0, code=0.0), row(mc=None), row(gen=None)]
    (points,) = series_of([*others, chosen], 8).values()
    assert (points.rows, points.points.tolist()) == ((chosen,), [[3.0, 4.0]])
    assert series_of(others, 8) == fronts_of({}) == {}


def test_a_source_that_a_mix_lacks_has_share_0():
    (points,) = series_of([row(math=1.0, law=3.0), row(math=1.0, code=1.0)], 8).values()
    assert {source: list(shares) for source, shares in points.shares.items()} == {
        "math": [0.25, 0.5], "law": [0.75, 0.0], "code": [0.0, 0.5]
    }  # fmt: skip


def test_several_models_are_refused():
    with pytest.raises(ValueError, match="several models do not compare: a, b"):
        series_of([row(model="a"), row(model="b")], 8)


def test_ours_and_the_papers_share_one_reference_point():
    # smallest MC 2 (paper), smallest GEN 1 (ours): reference (1, 0)
    series = series_of([row(mc=5.0, gen=1.0), row(mc=2.0, gen=6.0, origin="paper")], 8)
    assert [(one.origin, front.hypervolume) for one, front in fronts_of(series).items()] == [("ours", 4), ("paper", 6)]


def test_tables_hold_what_the_figures_show(rows):
    lines = list(csv.DictReader(io.StringIO(csv_text(table_of_fronts(rows, 96, "t")))))
    fronts = fronts_of(series_of(rows, 96))
    assert [(line["method"], float(line["HV"]), line["on the front"], line["mixes"]) for line in lines] == [
        (one.method, front.hypervolume, str(front.size), "10") for one, front in fronts.items()
    ]
    lines = list(csv.DictReader(io.StringIO(csv_text(table_of_correlations(rows, 96, "t")))))
    assert len(lines) == 4 * 7
    value = correlations_of(series_of(rows, 96)[Series("ream", "paper")])["code", "GEN"]
    (line,) = [line for line in lines if (line["method"], line["of"], line["with"]) == ("ream", "code", "GEN")]
    assert (float(line["r"]), float(line["low"]), float(line["high"])) == (value.r, value.low, value.high)
