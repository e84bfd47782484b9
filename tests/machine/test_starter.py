"""A stage ends with the DVC or the flow that started it, and only with them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ream.machine import starter
from ream.machine.files import locked
from ream.machine.starter import DVC, FLOW
from tests.graphs import ROOT

# A stage that holds a folder, tells its process id, and works for ten minutes.
STAGE = """import os, sys, time
from pathlib import Path
from ream.machine import starter
from ream.machine.files import locked
BEFORE
with locked(Path("held")):
    starter.end_with_starter()
    Path("pid.new").write_text(str(os.getpid()))
    os.rename("pid.new", "pid")
    time.sleep(600)
"""
WITHOUT_PIDFD = "def none(process): raise OSError\nos.pidfd_open, starter.POLL_SECONDS = none, 0.05"
AS_ELSEWHERE = f"{WITHOUT_PIDFD}\nstarter.PROCESSES = Path('/nowhere')"
# DVC: it starts a shell with the command, in the environment of a stage.
DVC_RUN = f"import os, subprocess, sys; subprocess.run(sys.argv[1:], env=os.environ | {{'{DVC}': 'x'}})"


def alive(process):
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def started(tmp_path):
    """Starts a stage by a command, and gives the process that was started and the process id of the stage."""
    processes = []

    def start(*command, before="", **added):
        (tmp_path / "stage.py").write_text(STAGE.replace("BEFORE", before))
        (tmp_path / "pid").unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in (DVC, FLOW)}
        environment |= {"PYTHONPATH": str(ROOT)} | added
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
        assert eventually((tmp_path / "pid").exists)
        processes.extend([process.pid, int((tmp_path / "pid").read_text())])
        return process, processes[-1]

    yield start
    for process in processes:
        if alive(process):
            os.kill(process, signal.SIGKILL)


PYTHON = f"{sys.executable} stage.py"
BY_DVC = (sys.executable, "-c", DVC_RUN, "/bin/sh", "-c")


@pytest.mark.parametrize(
    ("command", "before"),
    [
        (f"exec {PYTHON}", ""),
        (f"true; {PYTHON}; true", ""),  # a shell that waits for its command
        (f"sh -c '{PYTHON}; true'; true", ""),
        (f"{PYTHON}; true", WITHOUT_PIDFD),
        (f"exec {PYTHON}", AS_ELSEWHERE),
    ],
    ids=["instead of the shell", "below a shell", "below two", "without pidfd", "elsewhere"],
)
def test_a_stage_ends_with_dvc_and_lets_go_of_its_lock(started, tmp_path, command, before):
    dvc, stage = started(*BY_DVC, command, before=before)
    time.sleep(0.2)
    assert alive(stage)
    dvc.kill()
    dvc.wait()
    assert eventually(lambda: not alive(stage), 10)
    with locked(tmp_path / "held"):
        pass


def test_a_stage_whose_dvc_has_ended_before_the_watch_ends_at_once(started, tmp_path):
    orphan = f"(sleep 0.3; {PYTHON}; true) & kill -9 $PPID"
    dvc, stage = started(*BY_DVC, orphan, before="Path('pid').write_text(str(os.getpid()))")
    assert dvc.wait() == -signal.SIGKILL
    assert eventually(lambda: not alive(stage), 10)


def test_a_stage_ends_with_the_flow(started):
    flow = subprocess.Popen(["sleep", "600"])
    shell, stage = started("sh", "-c", f"{PYTHON}; true", **{FLOW: str(flow.pid)})
    assert alive(stage)
    flow.kill()
    flow.wait()
    shell.wait(10)
    assert eventually(lambda: not alive(stage), 10)


@pytest.mark.parametrize(
    "command",
    [("sh", "-c", f"{PYTHON}; true"), (*BY_DVC, f"exec setsid {PYTHON}")],
    ids=["by hand", "detached on purpose"],
)
def test_any_other_command_outlives_what_started_it(started, command):
    """As one with nohup whose terminal is closed."""
    starting, stage = started(*command)
    starting.kill()
    starting.wait()
    time.sleep(0.5)
    assert alive(stage)


def test_a_fork_of_the_flow_follows_the_process_that_forked_it(monkeypatch):
    """It has the environment of a stage, which it was not started with."""
    monkeypatch.setenv(DVC, "x")
    assert starter._dvc_process() == os.getppid()
