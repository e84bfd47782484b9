"""The flow on a Dask cluster whose workers have clones of their own and exchange results through a DVC remote."""

import shutil
import socket
import subprocess
import sys
import time

import pytest
import yaml

from tests.flows.conftest import flow_environment, ran_by_flow
from tests.graphs import build_graph, dvc, ran

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
IDENTITY = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, env=flow_environment() | IDENTITY, check=True, capture_output=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A committed repository with a local folder as its DVC remote."""
    base = tmp_path_factory.mktemp("dask")
    folder = build_graph(base / "origin")
    dvc(folder, "remote", "add", "--default", "shared", str(base / "remote"))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "graph")
    return folder


@pytest.fixture(scope="module")
def cluster(origin, server):
    """Address of a scheduler with two workers, each in its own clone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    commands = [(origin.parent, [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"])]
    for number in range(2):
        clone = origin.parent / f"worker-{number}"
        git(origin.parent, "clone", "-q", str(origin), str(clone))
        options = ["--nthreads", "1", "--nworkers", "1", "--no-dashboard", "--no-nanny", "--local-directory", "/tmp"]
        commands.append((clone, [*dask, "worker", address, *options]))
    processes = []
    for folder, command in commands:
        environment = flow_environment(server) | {"REAM_REPOSITORY": str(folder)}
        with open(origin.parent / f"{folder.name}.log", "w") as log:
            processes.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))
        time.sleep(3)
    yield address
    for process in reversed(processes):
        process.terminate()
        process.wait(30)


def run(folder, server, *arguments):
    command = [sys.executable, "-m", "flows", "run", *arguments]
    result = subprocess.run(
        command, cwd=folder, env=flow_environment(server), capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout + result.stderr


def test_two_clones_make_the_same_lock(origin, cluster, server, tmp_path):
    folder = tmp_path / "flow"
    git(tmp_path, "clone", "-q", str(origin), str(folder))
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert code == 0, said
    assert "19 stages ran, 0 cached" in said
    alone = tmp_path / "alone"
    shutil.copytree(origin, alone, symlinks=True)
    dvc(alone, "repro")
    assert yaml.safe_load((folder / "dvc.lock").read_text()) == yaml.safe_load((alone / "dvc.lock").read_text())
    assert (folder / "reports" / "results.md").read_bytes() == (alone / "reports" / "results.md").read_bytes()
    assert ran(dvc(folder, "repro")) == set(), "its outputs have been pulled"
    used = {path.parent for path in origin.parent.glob("worker-*/artifacts") if any(path.iterdir())}
    assert len(used) == 2, "both workers have worked"
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert (code, ran_by_flow(said)) == (0, set())
    assert "0 stages ran, 19 cached" in said


def test_code_that_is_not_committed_is_refused(origin, cluster, server, tmp_path):
    folder = tmp_path / "changed"
    git(tmp_path, "clone", "-q", str(origin), str(folder))
    (folder / "dvc.yaml").write_text((folder / "dvc.yaml").read_text() + "\n# changed\n")
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert code == 2
    assert "uncommitted changes in dvc.yaml: the workers' clones run what is committed" in said
    git(folder, "commit", "-q", "-a", "-m", "another commit")
    code, said = run(folder, server, "calibration@prose", "--dask", cluster, "--clones")
    assert code == 1
    assert "is at commit" in said


def test_no_scheduler_answers(origin, server):
    code, said = run(origin, server, "--dask", "tcp://127.0.0.1:9")
    assert code == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in said.splitlines()[-1]
