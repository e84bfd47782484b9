"""Flows of many light stages at once: no stage meets a lock of DVC, and foreign processes are waited for."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.flows.conftest import flow_environment, ran_by_flow, states
from tests.flows.light import cache, chains, entries, foreign, repository
from tests.graphs import dvc, ran, run

pytestmark = [pytest.mark.flow, pytest.mark.timeout(900)]
STAGES = 60


def start(folder, server, *arguments):
    command = [sys.executable, "-m", "flows", "run", "--models", "1", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=flow_environment(server), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def both(server, tmp_path_factory):
    """A repository brought up to date by the flow with eight workers, what that said, and a copy by `dvc repro`."""
    base = tmp_path_factory.mktemp("light")
    ours = repository(base / "ours", chains(STAGES))
    dvcs = shutil.copytree(ours, base / "dvcs")
    process = start(ours, server, "--workers", "8")
    said = process.communicate()[0]
    assert process.returncode == 0, said
    dvc(dvcs, "repro")
    return ours, said, dvcs


def test_eight_at_once_leave_what_dvc_leaves(both):
    ours, said, dvcs = both
    assert f"{STAGES} stages ran, 0 cached" in said
    assert set(states(said).values()) == {"Completed"}
    assert len(re.findall(r"Running stage", said)) == len(ran_by_flow(said)) == STAGES, "none was tried again"
    assert not re.search(r"lock|retr|ERROR", said)
    assert entries(ours) == entries(dvcs)
    assert cache(ours) == cache(dvcs)
    assert run(ours, "dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert ran(dvc(ours, "repro")) == set()


def test_what_the_run_cache_has_is_not_run_and_what_is_unchanged_is_cached(both, flow):
    ours, _, _ = both
    before = entries(ours)
    (ours / "out" / "58.txt").unlink()
    (ours / "base.txt").write_text("other\n")
    code, said = flow(ours, "light-58", "--workers", "4", "--models", "1")
    assert (code, len(ran_by_flow(said))) == (0, 8), said
    (ours / "base.txt").write_text("base\n")
    code, said = flow(ours, "--workers", "4", "--models", "1")
    assert (code, ran_by_flow(said)) == (0, set()), said
    assert "DVC had the outputs of 'light-58'" in said
    assert "8 stages ran, 52 cached" in said
    assert entries(ours) == before


def test_a_foreign_process_that_holds_the_repository_is_waited_for(server, tmp_path):
    folder = repository(tmp_path / "r", chains(4))
    with foreign(folder) as holder:
        process = start(folder, server, "--workers", "4")
        said = ""
        while "waiting for DVC's lock" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
    said += process.communicate()[0]
    assert process.returncode == 0, said
    assert f"waiting for DVC's lock, held by process {holder.pid}: " in said
    assert "4 stages ran, 0 cached" in said


def test_an_output_that_is_not_made_is_a_failed_stage(flow, tmp_path):
    stages = {"forgets": {"cmd": "true", "outs": ["x"]}, "reads": {"cmd": "cp x y", "deps": ["x"], "outs": ["y"]}}
    code, said = flow(repository(tmp_path / "r", stages | chains(1)), "--models", "1")
    assert code == 1
    assert re.search(r"error: failed: forgets; not run: reads; 1 stages ran, 0 cached", said), said
    assert states(said) == {"forgets": "Failed", "reads": "NotReady", "light-0": "Completed"}
    assert re.search(r"stage forgets: .*output 'x' does not exist", said)
