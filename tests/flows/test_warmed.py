"""`python -m flows.warmed COMMAND`: the command itself, with stages that are forks once the libraries are imported."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ream.machine.starter import DVC
from tests.flows.conftest import flow_environment

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]


def start(folder, *command):
    arguments = [sys.executable, "-m", "flows.warmed", *command]
    return subprocess.Popen(
        arguments, cwd=folder, env=flow_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def imports(process):
    """The processes that import the libraries, below a process."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [each for each in below if "flows.fork_server" in each.cmdline()]


def test_output_and_status_are_the_commands(tmp_path):
    process = start(tmp_path, "sh", "-c", "echo said; exit 7")
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (7, "said\n", "")


def test_a_program_that_does_not_exist_is_one_line(tmp_path):
    process = start(tmp_path, "no-such-program")
    assert "there is no program 'no-such-program'" in process.communicate(timeout=60)[1]
    assert process.returncode == 127


def test_a_command_without_a_stage_imports_nothing(tmp_path):
    process = start(tmp_path, "sleep", "3")
    time.sleep(1.5)
    assert imports(process) == []
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_first_stage_starts_the_imports_which_end_with_the_command(tmp_path):
    script = f"{DVC}=x ream --version; touch asked; exec sleep 300"
    process = start(tmp_path, "sh", "-c", script)
    end = time.monotonic() + 120
    while not (tmp_path / "asked").exists() or not imports(process):
        assert time.monotonic() < end
        time.sleep(0.1)
    running = [process, *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert psutil.wait_procs([each for each in running if each is not process], 20)[1] == []


def test_a_keyboard_interrupt_ends_the_command(tmp_path):
    """The terminal sends it to the whole process group."""
    arguments = [sys.executable, "-m", "flows.warmed", "sh", "-c", "touch started; exec sleep 300"]
    process = subprocess.Popen(arguments, cwd=tmp_path, env=flow_environment(), start_new_session=True)
    end = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
