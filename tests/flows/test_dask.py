"""The flow on a Dask cluster whose workers have clones of their own and exchange results through a DVC remote."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import psutil
import pytest
import yaml

from flows.warm import Warm
from tests.flows.blocked import BlockedStages
from tests.flows.conftest import flow_environment, ran_by_flow
from tests.graph_edits import ALL
from tests.graphs import ROOT, build_graph, dvc, ran

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
IDENTITY = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}
WAIT_FOR_WORKERS = "import sys, distributed; distributed.Client(sys.argv[1], timeout=60).wait_for_workers(2, 120)"


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
    """A copy that plain `dvc repro` has brought up to date, with stages as forks to save their imports."""
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


@pytest.fixture(scope="module")
def by_flow(origin, cluster, server, tmp_path_factory):
    """A clone that the flow has brought up to date on the cluster, and what it said; the remote has all results."""
    base = tmp_path_factory.mktemp("flow")
    git(base, "clone", "-q", str(origin), str(base / "clone"))
    code, said = run(base / "clone", server, "--dask", cluster, "--clones")
    assert code == 0, said
    return base / "clone", said


def test_two_clones_make_the_same_lock(by_flow, workers, alone):
    folder, said = by_flow
    assert f"{len(ALL) + 1} stages ran, 0 cached" in said  # with names
    assert yaml.safe_load((folder / "dvc.lock").read_text()) == yaml.safe_load((alone / "dvc.lock").read_text())
    for name in ("reports/results.md", "metrics/headline.json", "metrics/models/even/4-ream.json"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()
    assert ran(dvc(folder, "repro")) == set(), "its outputs have been pulled"
    assert all(any((clone / "artifacts").iterdir()) for clone in workers), "both workers have worked"


def test_results_on_the_remote_or_in_the_flows_clone_are_not_made_again(by_flow, cluster, server, folder):
    """A new clone gets results from the remote; what plain `dvc repro` makes in it goes to the workers."""
    shutil.copy(by_flow[0] / "dvc.lock", folder)  # with the metrics, which git keeps
    shutil.copytree(by_flow[0] / "metrics", folder / "metrics")
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert (code, ran_by_flow(said)) == (0, set()), said
    assert f"0 stages ran, {len(ALL) + 1} cached" in said
    assert (folder / "reports" / "results.md").read_bytes() == (by_flow[0] / "reports" / "results.md").read_bytes()
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("sequences: 6", "sequences: 5"))
    assert (folder / "params.yaml").read_text() != params
    assert ran(dvc(folder, "repro", "calibration@prose")) == {"calibration@prose"}
    code, said = run(folder, server, "statistics@prose", "--dask", cluster, "--clones")
    assert code == 0, said
    assert "1 stages ran, 11 cached" in said
    assert ran(dvc(folder, "repro", "statistics@prose")) == set()


def test_a_failed_stage_fails_the_flow_and_its_siblings_finish(cluster, server, folder):
    """Here the workers share the flow's workspace."""
    code, said = run(
        folder,
        server,
        "saliency@even",
        "--dask",
        cluster,
        "--workers",
        "2",
        "-S",
        "sources.code.paths=[texts/code/0.txt]",
    )
    assert code == 1
    last = said.strip().splitlines()[-1]
    assert re.search(r"ERROR .* stage calibration@code: ", said)
    assert re.match(r"error: failed: calibration@code; not run: statistics@code, saliency@even; 12 stages ran", last)
    assert ran(dvc(folder, "repro", "statistics@prose")) == set(), "what does not need it has run, in this workspace"


def locks(folder):
    """What DVC holds in a repository."""
    path = folder / ".dvc" / "tmp" / "rwlock"
    return [held for kind in json.loads(path.read_text() or "{}").values() for held in kind] if path.exists() else []


def processes_in(folder):
    return [process for process in psutil.process_iter(["cmdline", "cwd"]) if process.info["cwd"] == str(folder)]


def others(folder):
    """Processes in a folder that are not Dask workers."""
    return [process for process in processes_in(folder) if "dask" not in (process.info["cmdline"] or [])]


def test_cancelling_stops_the_stages_of_the_workers(cluster, server, folder, workers, tmp_path):
    """Their clones are free for the next flow."""
    stages = BlockedStages(*workers)
    arguments = ("code", "--dask", cluster, "--clones")
    process = start(folder, server, *arguments)
    stages.wait()
    assert any(map(others, workers))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0, said
    for clone in workers:
        assert psutil.wait_procs(others(clone), timeout=10)[1] == []
        assert locks(clone) == []
        assert list(clone.rglob(".*.tmp")) == []
    stages.release()
    code, said = run(folder, server, *arguments)
    assert code == 0, said
    assert "2 stages ran, 0 cached" in said


def test_code_that_is_not_committed_is_refused(cluster, server, folder):
    text = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(f"{text}\n# changed\n")
    code, said = run(folder, server, "--dask", cluster, "--clones")
    assert code == 2
    assert "uncommitted changes in dvc.yaml: the workers' clones run what is committed" in said
    git(folder, "commit", "-q", "-a", "-m", "another commit")
    code, said = run(folder, server, "code", "--dask", cluster, "--clones")
    assert code == 1
    assert re.search(r"ERROR .* the clone .*worker-\d is at commit \w+, the flow is at \w+; pull there", said)


@pytest.mark.parametrize(
    ("address", "reachable", "message"),
    [
        ("tcp://127.0.0.1:9", True, "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ("tcp://192.0.2.1:8786", False, "the workers of tcp://192.0.2.1:8786 can't reach a server on 127.0.0.1"),
    ],
)
def test_a_cluster_that_cannot_be_used(origin, server, address, reachable, message):
    code, said = run(origin, server if reachable else None, "--dask", address)
    assert code == 2
    assert said.startswith(f"error: {message}")
    assert len(said.splitlines()) == 1


def test_the_stage_of_a_killed_worker_is_run_by_another(cluster, server, folder, workers, tmp_path):
    """Must stay the last test: the cluster has one worker less afterwards."""
    stages = BlockedStages(*workers)
    process = start(folder, server, "code", "--dask", cluster, "--clones")
    stages.wait()
    (clone,) = [clone for clone in workers if others(clone)]
    (worker,) = [candidate for candidate in processes_in(clone) if candidate not in others(clone)]
    worker.kill()
    assert psutil.wait_procs(others(clone), timeout=60)[1] == [], "a stage without a worker ends, and its imports then"
    stages.wait()
    stages.release()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert "2 stages ran, 0 cached" in said
