"""Other versions of libraries than those that are recorded are noticed when a flow begins."""

import json

import pytest

from flows.compared_code import compare_code
from tests.graphs import ROOT, build_graph, dvc, ran


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = build_graph(tmp_path / "graph")
    dvc(folder, "repro", "code")
    return folder


def test_a_record_of_another_library_is_made_anew(folder):
    """DVC, which sees the same sources, would restore it from its run cache."""
    record = folder / "artifacts" / "code" / "saliency.json"
    before = record.read_bytes()
    tree = json.loads(before)
    record.unlink()  # DVC's cache may be linked
    record.write_text(json.dumps(tree | {"libraries": {"numpy": "0.1"}}))
    dvc(folder, "commit", "--force", "code")
    assert ran(dvc(folder, "repro", "code")) == set(), "DVC sees no difference"
    assert "0.1" in record.read_text()
    compare_code(folder)
    assert record.read_bytes() == before
    assert ran(dvc(folder, "repro", "code")) == set()


def test_without_a_difference_nothing_runs(folder):
    record = folder / "artifacts" / "code" / "saliency.json"
    before = record.stat().st_mtime_ns
    compare_code(folder)
    assert record.stat().st_mtime_ns == before
