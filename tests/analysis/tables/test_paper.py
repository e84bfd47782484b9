"""All tables of the paper, from its printed numbers alone."""

import csv
import io
from pathlib import Path

import pytest

from ream.analysis.results.published import load_published
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.paper import tables_of_ablations, tables_of_mixes, tables_of_models

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
        heads = 3 if r"\begin{longtable}" in latex else 1  # the caption, and the head on the first page and on others
        assert sum(line.endswith(r"\\") for line in latex.splitlines()) == count + heads


def test_ablations_are_in_table_4_alone(published):
    names = {row[1] for table in tables_of_mixes(published.ablations) for row in table.rows if table.name != "table-3"}
    assert names == {"original", "reap", "ream"}
    (table,) = tables_of_ablations(published.ablations)
    assert {row[1] for row in table.rows} == {"original", "reap", "ream", "ream-no-gate-logits", "ream-one-shot"}
