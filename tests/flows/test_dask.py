"""The flow on a Dask cluster whose workers have clones of their own and exchange results through a DVC remote."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from flows.warm import Warm
from tests.flows.conftest import flow_environment, ran_by_flow, states
from tests.graphs import ROOT, build_graph, dvc, ran

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
IDENTITY = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}
WAIT_FOR_WORKERS = "import sys; from distributed import Client; Client(sys.argv[1], timeout=60).wait_for_workers(2, 120)"


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
def workers(origin):
    """The clones of two workers."""
    clones = [origin.parent / f"worker-{number}" for number in range(2)]
    for clone in clones:
        git(origin.parent, "clone", "-q", str(origin), str(clone))
    return clones


@pytest.fixture(scope="module")
def cluster(origin, workers, server):
    """Address of a scheduler with two workers, each in its own clone, started as docs/flow.md says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = [*dask, "worker", address, "--nthreads", "1", "--nworkers", "1", "--no-nanny", "--no-dashboard"]
    processes = []
    for folder, command in [(origin.parent, scheduler), *((clone, worker) for clone in workers)]:
        environment = flow_environment(server) | {"REAM_REPOSITORY": str(folder)}
        with open(origin.parent / f"{folder.name}.log", "w") as log:
            processes.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))
    wait = subprocess.run([sys.executable, "-c", WAIT_FOR_WORKERS, address], capture_output=True, text=True)
    yield address if wait.returncode == 0 else pytest.fail(wait.stderr)
    for process in reversed(processes):
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def alone(origin, tmp_path_factory):
    """What `dvc repro` makes of the repository by itself, its stages spared their imports."""
    folder = shutil.copytree(origin, tmp_path_factory.mktemp("alone") / "clone", symlinks=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    with Warm({}) as warm:
        assert warm.ready()
        command = [sys.executable, "-m", "dvc", "repro"]
        environment = flow_environment() | warm.environment()
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before
    return folder


@pytest.fixture
def folder(origin, tmp_path):
    """A clone for the flow."""
    git(tmp_path, "clone", "-q", str(origin), str(tmp_path / "flow"))
    return tmp_path / "flow"


def start(folder, server, *arguments):
    command = [sys.executable, "-m", "flows", "run", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=flow_environment(server), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(folder, server, *arguments):
    process = start(folder, server, *arguments)
    said = process.communicate()[0]
    return process.returncode, said


def test_two_clones_make_the_same_lock(origin, workers, cluster, server, folder, alone):
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert code == 0, said
    assert "19 stages ran, 0 cached" in said
    assert yaml.safe_load((folder / "dvc.lock").read_text()) == yaml.safe_load((alone / "dvc.lock").read_text())
    assert (folder / "reports" / "results.md").read_bytes() == (alone / "reports" / "results.md").read_bytes()
    assert ran(dvc(folder, "repro")) == set(), "its outputs have been pulled"
    assert all(any((clone / "artifacts").iterdir()) for clone in workers), "both workers have worked"
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert (code, ran_by_flow(said)) == (0, set())
    assert "0 stages ran, 19 cached" in said
