"""`python -m flows.quick_dvc` leaves what `dvc` leaves."""

import sys

import pytest

from tests.flows.light import chains, repository
from tests.graphs import ROOT, dvc, ran, run

QUICK = (sys.executable, "-m", "flows.quick_dvc")


def same_lock(tmp_path, stages):
    """Run stages with either command, which must leave the same; returns the two repositories."""
    folders = [repository(tmp_path / name, stages) for name in ("quick", "dvc")]
    first = run(folders[0], *QUICK, "repro")
    assert first.returncode == 0, first.stderr
    assert ran(first.stdout) == ran(dvc(folders[1], "repro"))
    assert (folders[0] / "dvc.lock").read_bytes() == (folders[1] / "dvc.lock").read_bytes()
    assert run(folders[0], *QUICK, "status").stdout == "Data and pipelines are up to date.\n"
    return folders


def test_it_leaves_the_same_lock_as_dvc(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    same_lock(tmp_path, chains(2))


@pytest.mark.slow
def test_of_more_stages_dvc_has_nothing_left_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert [ran(dvc(folder, "repro")) for folder in same_lock(tmp_path, chains(6))] == [set(), set()]


def test_its_status_is_that_of_dvc(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = repository(tmp_path / "r", chains(2))
    assert run(folder, *QUICK, "repro", "no-such-stage").returncode == 255
