"""Everything the paper has, from its printed numbers alone."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ream.analysis.figures.held_out_loss import save
from ream.analysis.figures.paper import (
    figures_of_ablations,
    figures_of_mixes,
    tables_of_ablations,
    tables_of_mixes,
    tables_of_models,
)
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Row
from ream.analysis.tables.table import RENDERERS

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_all_tables_from_the_published_numbers(published, tmp_path):
    tables = tables_of_mixes(published.mixes) + tables_of_models(published.large_models)
    tables += tables_of_ablations(published.ablations)
    for table in tables:
        for suffix, render in RENDERERS.items():
            (tmp_path / f"{table.name}.{suffix}").write_text(render(table), encoding="utf-8")
    lines = {path.stem: len(list(csv.reader(io.StringIO(path.read_text())))) - 1 for path in tmp_path.glob("*.csv")}
    assert lines == {
        "table-1": 9, "table-2": 9, "table-3": 13, "table-4": 16, "table-5": 44, "table-6": 42,
        "table-fronts-96": 4, "table-fronts-64": 4, "table-correlations-96": 28, "table-correlations-64": 28,
    }  # fmt: skip
    for name, count in lines.items():
        markdown = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        latex = (tmp_path / f"{name}.tex").read_text(encoding="utf-8")
        assert sum(line.startswith("|") for line in markdown.splitlines()) == count + 2
        assert sum(line.endswith(r"\\") for line in latex.splitlines()) == count + 1


def test_all_figures_from_the_published_numbers(published, tmp_path):
    figures = figures_of_mixes(published.mixes) | figures_of_ablations(published.ablations)
    assert sorted(figures) == [
        "figure-2", "figure-3a", "figure-3b", "figure-4a", "figure-6", "figure-7a", "figure-7b"
    ]  # fmt: skip
    assert "96 experts" in figures["figure-2"].axes[0].get_xlabel()
    assert "64 experts" in figures["figure-7b"].axes[0].get_xlabel()
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.svg")
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
    save(figures["figure-2"], tmp_path / "figure-2.png")
    assert (tmp_path / "figure-2.png").read_bytes().startswith(b"\x89PNG")


def test_without_ablations_or_means_there_is_less():
    rows = [Row("ours", "m", "ream", experts, {"math": 1.0, "code": 1.0}, gen=50.0) for experts in (8, 6, 4)]
    assert [table.name for table in tables_of_mixes(rows)] == [
        "table-1", "table-3", "table-5", "table-6", "table-mixes-4"
    ]  # fmt: skip
    assert (tables_of_ablations(rows), figures_of_ablations(rows), figures_of_mixes(rows)) == ([], {}, {})


def test_ablations_are_in_table_4_alone(published):
    names = {row[1] for table in tables_of_mixes(published.ablations) for row in table.rows if table.name != "table-3"}
    assert names == {"original", "reap", "ream"}
    (table,) = tables_of_ablations(published.ablations)
    assert {row[1] for row in table.rows} == {"original", "reap", "ream", "ream-no-gate-logits", "ream-one-shot"}
