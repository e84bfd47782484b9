"""What a flow run has started in a process: one process of imports, and nothing once it has ended."""

import signal
import subprocess
import sys

import psutil
import pytest

from flows.child import StageError, run
from flows.processes import _WARM, Processes, _end_unused, _taken_over, end_processes, processes_of, warm_up
from flows.warm import AWAIT, Warm
from ream.machine.sharing import SHARED_CORES


@pytest.fixture
def processes():
    processes = Processes()
    yield processes
    processes.end()


def ignore(_):
    pass


def test_stages_share_a_process_of_imports_that_is_started_again_when_it_has_ended(processes):
    first = processes.environment()
    assert first.items() >= SHARED_CORES.items()
    assert processes.environment() == first
    processes._warm._process.kill()
    processes._warm._process.wait()
    second = processes.environment()
    assert second["PATH"] != first["PATH"]
    assert processes._warm.alive()


def test_a_process_of_imports_that_was_started_early_is_one_flow_runs(processes):
    warm_up()
    one = processes.environment(heavy=True)
    assert _taken_over() is None
    other = Processes()
    assert other.environment()["PATH"] != one["PATH"]
    other.end()
    assert one[AWAIT]
    assert AWAIT not in processes.environment(heavy=False)


def test_a_process_of_imports_that_no_stage_wanted_ends_with_this_process():
    warm_up()
    [warm] = _WARM
    _end_unused()
    assert not warm.alive()
    _end_unused()


def test_nothing_is_started_once_the_flow_run_has_ended(tmp_path):
    one, other = processes_of("one"), processes_of("other")
    assert processes_of("one") is one
    one.environment()
    end_processes("one")
    assert not one._warm.alive()
    with pytest.raises(StageError, match="not started: the flow is being stopped") as error:
        one.environment()
    assert not error.value.again
    command = [sys.executable, "-c", "print('here')"]
    with pytest.raises(StageError, match="not started: the flow is being stopped"):
        run("s", command, tmp_path, {}, ignore, ignore, one.children)
    said = []
    run("s", command, tmp_path, {}, said.append, ignore, other.children)
    assert said == ["here"], "another flow run in the same process goes on"


@pytest.mark.slow
def test_a_process_of_imports_that_does_not_end_is_killed_with_its_forks(monkeypatch):
    monkeypatch.setattr("flows.warm.END_SECONDS", 0.2)
    fork = "import time; time.sleep(60)"
    stubborn = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn += f"; print(subprocess.Popen([sys.executable, '-c', '{fork}']).pid, flush=True); time.sleep(60)"
    warm = Warm({})
    warm._process.kill()
    warm._process.communicate()
    warm._process = subprocess.Popen(
        [sys.executable, "-c", stubborn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    forked = psutil.Process(int(warm._process.stdout.readline()))
    warm.close()
    warm._process.stdout.close()
    assert warm._process.returncode == -signal.SIGKILL
    forked.wait(10)
