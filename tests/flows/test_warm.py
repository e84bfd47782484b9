"""`ream` and `dvc` as forks of a process that has imported the libraries: as if they had been started themselves."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows.warm import START_SECONDS, Warm
from ream.machine.starter import DVC, FLOW
from ream.search import helpers
from tests.flows.blocked import BlockedStages
from tests.flows.conftest import flow_environment
from tests.flows.light import until
from tests.graphs import ROOT
from tests.tiny import build, write_params

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def warm():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    with Warm({}) as warm:
        assert warm.ready()
        yield warm
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def go(warm, tmp_path):
    """Starts a program of the warm PATH."""

    def start(*command, cwd=tmp_path, **added):
        environment = flow_environment() | warm.environment() | added
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def ended(process, seconds=60):
    out, error = process.communicate(timeout=seconds)
    return process.returncode, out, error


def forks(warm):
    return psutil.Process(warm._process.pid).children()


def test_output_errors_and_exit_codes_are_the_programs(go):
    code, out, error = ended(go("ream", "--help"))
    assert (code, error) == (0, "")
    assert "Shrink Mixture-of-Experts" in out
    code, out, error = ended(go("ream", "stage", "nothing"))
    assert (code, out) == (2, "")
    assert error.startswith("error: stage 'nothing' is unknown")
    code, out, error = ended(go("ream", "no-such-command"))
    assert code == 2
    assert "No such command" in error


def test_a_heavy_stage_is_the_same_and_needs_no_imports(go, tmp_path):
    """Folder, environment and random numbers are the client's own; two stages at once do not disturb each other."""
    path = write_params(tmp_path, build(tmp_path / "model"))
    for root in ("one", "two", "cold"):
        assert ended(go("ream", "stage", "model", "--params", str(path), "--root", root))[0] == 0
        for source in ("a", "b"):
            ended(go("ream", "stage", "calibration", "--source", source, "--params", str(path), "--root", root))
        assert ended(go("ream", "stage", "mixture", "--mix", "balanced", "--params", str(path), "--root", root))[0] == 0
    stage = ("stage", "sequential", "--mix", "balanced", "--method", "ream", "--experts", "4", "--params", str(path))
    started = time.monotonic()
    both = [go("ream", *stage, "--root", root) for root in ("one", "two")]
    assert [ended(process)[0] for process in both] == [0, 0]
    seconds = time.monotonic() - started
    started = time.monotonic()
    cold = [sys.executable, "-m", "ream.commands.cli", *stage, "--root", "cold"]
    subprocess.run(cold, cwd=tmp_path, env=flow_environment(), check=True, capture_output=True)
    assert seconds < time.monotonic() - started, "two at once are done before one that imports"
    recipes = [
        (tmp_path / root / "recipes/balanced/ream/4.safetensors").read_bytes() for root in ("one", "two", "cold")
    ]
    assert recipes[0] == recipes[1] == recipes[2]


def test_dvc_too(go, tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert ended(go("dvc", "init", "-q"))[0] == 0
    code, _, error = ended(go("dvc", "repro", "nothing"))
    assert code != 0
    assert error.startswith("ERROR: ")


def test_a_helper_of_a_search_is_a_fork(warm, tmp_path, monkeypatch):
    """It reads its task from its own stdin, and ends with it."""
    for name, value in (flow_environment() | warm.environment()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    command = helpers._program()
    assert command == [str(warm.path / "ream-search-helper")]
    task = {"params": {"no": 1}, "root": ".", "method": "reap", "experts": 4, "code": "", "state": "state"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as refused:
        refused.stdin.write(json.dumps(task) + "\n")
        refused.stdin.flush()
        assert refused.stderr.read().startswith("a helper of the search ended: ")
        assert refused.wait(60) == 2
    waiting = subprocess.Popen(command, stdin=subprocess.PIPE)
    end = time.monotonic() + 60
    while not forks(warm) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(forks(warm)) == 1
    with waiting:
        waiting.kill()
    gone(warm)
    assert not forks(warm)


@pytest.fixture
def blocked(tmp_path):
    """Keeps `ream stage model` in tmp_path from ending by itself."""
    write_params(tmp_path, build(tmp_path / "model"))
    blocked = BlockedStages(tmp_path)
    yield blocked
    blocked.release()


@pytest.fixture
def waiting(go, warm, blocked):
    """A program that does not end by itself."""
    process = go("ream", "stage", "model")
    blocked.wait()
    assert len(forks(warm)) == 1
    return process


def gone(warm):
    end = time.monotonic() + 60
    while forks(warm) and time.monotonic() < end:
        time.sleep(0.05)
    return not forks(warm)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_client_is_the_forks(waiting, warm, number):
    waiting.send_signal(number)
    code, _, _ = ended(waiting)
    assert code in ((1, 130) if number == signal.SIGINT else (-signal.SIGTERM,))
    assert gone(warm)


def test_a_killed_client_takes_its_fork_with_it(waiting, warm):
    waiting.kill()
    ended(waiting)
    assert gone(warm)


def test_a_fork_ends_with_the_flow_that_its_environment_names(go, warm, blocked):
    with subprocess.Popen(["sleep", "600"]) as flow:
        stage = go("ream", "stage", "model", **{FLOW: str(flow.pid), DVC: "model"})
        blocked.wait()
        assert len(forks(warm)) == 1
        flow.kill()
    assert ended(stage)[0] == -signal.SIGTERM
    assert gone(warm)


def test_a_killed_fork_looks_like_a_killed_program(waiting, warm):
    forks(warm)[0].kill()
    assert ended(waiting)[0] == -signal.SIGKILL


def test_without_the_process_the_real_program_runs(tmp_path):
    with Warm({}) as warm:
        environment = flow_environment() | warm.environment()
        assert not warm.address.exists(), "it has only begun to import"
        code = subprocess.run(["ream", "--help"], cwd=tmp_path, env=environment, capture_output=True).returncode
    assert code == 0
    assert not warm.path.exists()


def test_a_program_with_as_many_imports_waits_for_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Warm({}) as warm:
        environment = flow_environment() | warm.environment(heavy=True)
        assert not warm.address.exists(), "it has only begun to import"
        assert subprocess.run(["ream", "--help"], cwd=tmp_path, env=environment, capture_output=True).returncode == 0
        assert not warm.wanted.exists(), "the process was asked"


def test_nothing_waits_for_a_process_that_was_not_started(tmp_path):
    with Warm({}, at_once=False) as warm:
        environment, started = flow_environment() | warm.environment(heavy=True), time.monotonic()
        assert subprocess.run(["ream", "--help"], cwd=tmp_path, env=environment, capture_output=True).returncode == 0
        assert warm.wanted.exists()
    assert time.monotonic() - started < START_SECONDS / 2


def test_the_end_of_the_process_is_the_end_of_its_forks(tmp_path, monkeypatch, blocked):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Warm({}) as warm:
        assert warm.ready()
        environment = flow_environment() | warm.environment()
        process = subprocess.Popen(["ream", "stage", "model"], cwd=tmp_path, env=environment)
        blocked.wait()
        (fork,) = forks(warm)
    assert process.wait(60) == -signal.SIGKILL
    until(lambda: no_more(fork))  # the system takes its memory first


def no_more(process):
    """Whether a process has ended; where nobody collects orphans, it stays as a zombie."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_ends_with_its_parent(tmp_path):
    program = "import sys; from flows.warm import Warm; warm = Warm({}); print(warm._process.pid); sys.stdout.flush()"
    command = [sys.executable, "-c", f"{program}; warm.ready(); sys.stdin.read()"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=flow_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    process.wait(60)


def test_it_ends_when_nothing_is_asked_of_it(tmp_path):
    program = "import sys, pathlib; from flows import fork_server as s; s.PRELOADED, s.IDLE_SECONDS = (), 0.2; s.serve"
    command = [sys.executable, "-c", f"{program}(pathlib.Path(sys.argv[1]))", str(tmp_path / "socket")]
    with subprocess.Popen(command, env=flow_environment(), stdin=subprocess.PIPE) as process:
        assert process.wait(60) == 0
    assert (tmp_path / "socket").exists()
