"""All figures of the paper, from its printed numbers alone."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ream.analysis.figures.files import save
from ream.analysis.figures.paper import figures_of_ablations, figures_of_mixes
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Row
from ream.analysis.tables.paper import tables_of_ablations, tables_of_mixes

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


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


def test_without_ablations_or_means_there_are_fewer_tables_and_no_figures():
    rows = [Row("ours", "m", "ream", experts, {"math": 1.0, "code": 1.0}, gen=50.0) for experts in (8, 6, 4)]
    assert [table.name for table in tables_of_mixes(rows)] == [
        "table-1", "table-3", "table-5", "table-6", "table-mixes-4"
    ]  # fmt: skip
    assert (tables_of_ablations(rows), figures_of_ablations(rows), figures_of_mixes(rows)) == ([], {}, {})
