"""`dvc repro` killed (SIGKILL) by itself while a stage runs: the stage ends, and the next `dvc repro` works."""

import subprocess
import sys

import psutil
import pytest

from tests.flows.blocked import BlockedModel
from tests.graphs import build_graph, dvc, environment, ran

STAGE_SECONDS = 10  # within which a stage ends; on a quiet machine it takes milliseconds


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return build_graph(tmp_path_factory.mktemp("left"))


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_ends_with_its_killed_repro_and_the_next_repro_runs_it(graph, shell, monkeypatch):
    """The shells run a single command in their own place; the second stage's shell waits for its command."""
    monkeypatch.setenv("SHELL", shell)
    text = (graph / "dvc.yaml").read_text()
    if shell == "/bin/bash":
        (graph / "dvc.yaml").write_text(text.replace("cmd: ream stage model", "cmd: ream stage model && true"))
    model = BlockedModel(graph / "model")
    command = [sys.executable, "-m", "dvc", "repro", "model"]
    with subprocess.Popen(command, cwd=graph, env=environment(), stdout=subprocess.DEVNULL) as repro:
        model.wait()
        running = psutil.Process(repro.pid).children(recursive=True)
        assert any("stage" in process.cmdline() for process in running)
        repro.kill()
    assert psutil.wait_procs(running, STAGE_SECONDS)[1] == []
    model.dropped()
    model.repair()
    assert ran(dvc(graph, "repro", "model")) == {"model"}
    assert (graph / "artifacts/model/manifest.json").exists()
