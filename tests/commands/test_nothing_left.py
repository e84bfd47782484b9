"""Commands killed with SIGKILL leave no process, lock or folder behind, or only until the next start."""

import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from tests.flows.blocked import BlockedStages
from tests.graphs import ROOT, build_graph, dvc, environment, ran
from tests.tiny import write_params

STAGE_SECONDS = 10  # within which a stage ends; on a quiet machine it takes milliseconds


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return build_graph(tmp_path_factory.mktemp("left"))


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["/bin/sh", pytest.param("/bin/bash", marks=pytest.mark.slow)])
def test_a_stage_ends_with_its_killed_repro_and_the_next_repro_runs_it(graph, shell, monkeypatch):
    """The shells run a single command in their own place; the second stage's shell waits for its command."""
    monkeypatch.setenv("SHELL", shell)
    text = (graph / "dvc.yaml").read_text()
    if shell == "/bin/bash":
        (graph / "dvc.yaml").write_text(text.replace("cmd: ream stage code", "cmd: ream stage code && true"))
    stages = BlockedStages(graph)
    command = [sys.executable, "-m", "dvc", "repro", "code"]
    with subprocess.Popen(command, cwd=graph, env=environment(), stdout=subprocess.DEVNULL) as repro:
        stages.wait()
        running = psutil.Process(repro.pid).children(recursive=True)
        assert any("stage" in process.cmdline() for process in running)
        repro.kill()
    assert psutil.wait_procs(running, STAGE_SECONDS)[1] == []
    stages.release()
    left = graph / "artifacts/.state/scratch/run-left/model"  # as a killed evaluation by vLLM leaves it
    left.mkdir(parents=True)
    assert ran(dvc(graph, "repro", "code")) == {"code"}
    assert (graph / "artifacts/code/merge.json").exists()
    shutil.rmtree(graph / "artifacts")
    (graph / "dvc.lock").unlink()
    assert not left.parent.exists()


@pytest.mark.slow
def test_the_folder_of_a_killed_evaluation_is_gone_after_the_next_start(checkpoint, tmp_path):
    params = write_params(tmp_path)
    tree = yaml.safe_load(params.read_text())
    tree["suites"]["short"] = {"loss": ["code"], "loss_sequences": 2, "loss_tokens": 16}
    params.write_text(yaml.safe_dump(tree))
    caches, temporary = tmp_path / "caches", tmp_path / "temporary"
    temporary.mkdir()
    place = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(caches), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "ream", "evaluate", str(checkpoint), "--suite", "short", "--params", str(params)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment() | place) as evaluation:
        while not list(caches.glob("ream/scratch/run-*/model/manifest.json")):
            assert evaluation.poll() is None
            time.sleep(0.01)
        evaluation.kill()
    (left,) = caches.glob("ream/scratch/run-*")
    subprocess.run(command, cwd=tmp_path, env=environment() | place, check=True, capture_output=True)
    assert not left.exists()
    assert os.listdir(caches / "ream" / "scratch") == ["lock"]
    assert os.listdir(temporary) == []
