"""The contents of a report, from the paper's rows as if they were ours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ream.analysis.contents import Ranked, Results, figures_of, tables_of
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import OURS, PAPER
from ream.analysis.tables.cost import Cost

FOLDER = Path(__file__).parents[2] / "data" / "published"
MODEL = "Qwen3-30B-A3B-Instruct-2507"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


@pytest.fixture(scope="module")
def ours(published):
    """The rows over mixes with GEN one point higher, as if this project had measured them."""
    return [replace(row, origin=OURS, model="local-copy", gen=row.gen + 1) for row in published.mixes]


def names(parts):
    return [each.name for each in parts]


def test_only_our_rows_are_shown_of_a_model_that_the_paper_does_not_have(published, ours):
    tables = tables_of(Results("local-copy", ours, published))
    assert names(tables) == [
        "table-1", "table-3", "table-5", "table-fronts-96", "table-correlations-96", "table-6", "table-fronts-64",
        "table-correlations-64",
    ]  # fmt: skip
    assert not any(PAPER in row for table in tables for row in table.rows)


def test_published_rows_stand_beside_ours_where_the_model_is_the_same(published, ours):
    rows = [replace(row, model=MODEL.lower()) for row in ours]
    table = next(table for table in tables_of(Results(MODEL.lower(), rows, published)) if table.name == "table-5")
    assert sum(PAPER in row for row in table.rows) == sum(OURS in row for row in table.rows) > 40


def test_ablations_of_the_papers_model_come_with_figure_4a(published):
    rows = [replace(row, origin=OURS) for row in published.ablations]
    results = Results(rows[0].model, rows, published)
    assert {"table-2", "table-4"} <= set(names(tables_of(results)))
    shown = figures_of(results)
    assert names(shown) == ["figure-4a"]
    assert {row[0] for row in shown[0].data.rows} == {"ream-no-gate-logits", "ream-one-shot"}


def test_models_that_were_not_scored_have_no_figures(published):
    rows = [replace(row, origin=OURS, mc=None, gen=None, avg=None) for row in published.ablations]
    ranked = [Ranked(row, 7, 6.5) for row in rows]
    unscored = Results("local-copy", [replace(row, model="local-copy") for row in rows], published, ranked=ranked)
    assert figures_of(unscored) == []


def test_every_figure_has_the_table_of_what_it_shows(published, ours):
    sizes = {experts: {"reap": np.ones((3, experts), int), "ream": np.full((3, experts), 2)} for experts in (96, 64)}
    ranks = [Ranked(row, 100 + row.avg, 50 + row.avg / 2) for row in ours if row.method != "original"]
    costs = [Cost("original", 128, 30_532_122_624), Cost("reap", 96, 23_000_000_000, 46_000_000_000, 60, 2_000_000_000)]
    results = Results("local-copy", ours, published, ranked=ranks, group_sizes=sizes, costs=costs)
    shown = {each.name: each.data.name for each in figures_of(results)}
    assert shown == {
        "figure-1a": "table-group-sizes-96", "figure-1a-64": "table-group-sizes-64", "figure-2": "figure-2",
        "figure-3a": "figure-3a", "figure-3b": "figure-3b", "figure-5": "table-ranks",
        "figure-5-64": "table-ranks", "figure-5-effective": "table-ranks", "figure-5-effective-64": "table-ranks",
        "figure-6": "figure-6", "figure-7a": "figure-7a", "figure-7b": "figure-7b",
    }  # fmt: skip
    assert {"table-cost", "table-ranks", "table-group-sizes-64"} <= set(names(tables_of(results)))
    effective = next(each for each in figures_of(results) if each.name == "figure-5-effective-64")
    assert {row[2] for row in effective.data.rows} == {64}
    assert [row[4] for row in effective.data.rows] == [50 + row.avg / 2 for row in ours if row.experts == 64]
