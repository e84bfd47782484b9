"""Other versions of libraries than those that are recorded are noticed when a flow begins."""

import json
import shutil
import subprocess

import pytest

from flows.compared_code import compare_code
from ream.workspace.codes import fingerprints
from ream.workspace.layout import Workspace
from tests.graphs import ROOT, build_graph, dvc, ran
from tests.models.storage.test_checkpoint import refused


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = build_graph(tmp_path / "graph")
    dvc(folder, "repro", "code")
    return folder


@pytest.mark.slow
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


@pytest.mark.slow
def test_without_a_difference_nothing_runs(folder):
    record = folder / "artifacts" / "code" / "saliency.json"
    before = record.stat().st_mtime_ns
    compare_code(folder)
    assert record.stat().st_mtime_ns == before


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A workspace whose record is of the code that is there, and the commands that are given in it."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    workspace, commands = Workspace(tmp_path / "artifacts"), []
    workspace.codes.mkdir(parents=True)
    workspace.names.write_text("{}")
    for kind, tree in fingerprints().items():
        (workspace.codes / f"{kind}.json").write_text(json.dumps(tree))

    def failing(command, **options):
        commands.append((command[1:], options["cwd"]))
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no space\n")

    monkeypatch.setattr(subprocess, "run", failing)
    return workspace.codes / "saliency.json", commands


def test_dvc_is_asked_where_the_record_differs_and_nowhere_else(recorded, tmp_path):
    record, commands = recorded
    compare_code(tmp_path)
    assert commands == []
    record.write_text(json.dumps(json.loads(record.read_text()) | {"libraries": {"numpy": "0.1"}}))
    refused(lambda: compare_code(tmp_path), "stage code: no space; run `dvc repro code`")
    asked = ["-m", "dvc", "--wait-for-lock", "repro", "--force", "--single-item", "code"]
    assert commands == [(asked, tmp_path)]
