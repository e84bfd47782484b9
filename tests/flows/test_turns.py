"""Runs that change one workspace, one after the other."""

import os
import subprocess
import sys

import pytest

from flows import turns
from flows.turns import FILE, holder, turn

OTHER = """
import sys
from pathlib import Path
from flows.turns import turn
with turn(Path(sys.argv[1]), "evaluate@even seed=1", print) as waited:
    print("mine", waited, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has its turn."""
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine False\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_waits_and_says_for_which(other, tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "POLL_SECONDS", 0.01)
    said = []

    def on_wait(message):
        said.append(message)
        other.communicate("go on\n")  # ends the other one

    with turn(tmp_path, "mine", on_wait) as waited:
        assert waited
        assert holder(tmp_path) == f"the run mine (process {os.getpid()})"
    assert said == [
        f"waiting for the run evaluate@even seed=1 (process {other.pid}), which changes this workspace"
    ]  # fmt: skip
    assert (tmp_path / FILE).read_text() == ""


def test_a_killed_run_holds_nothing(other, tmp_path):
    other.kill()
    other.wait()
    with turn(tmp_path, "mine", pytest.fail) as waited:
        assert not waited


def test_the_flow_that_the_command_line_starts_is_part_of_its_turn(tmp_path):
    with turn(tmp_path, "outer", pytest.fail), turn(tmp_path, "inner", pytest.fail) as waited:
        assert not waited
        assert "outer" in holder(tmp_path)
    with turn(tmp_path, "next", pytest.fail):
        assert "next" in holder(tmp_path)


def test_who_holds_a_workspace_may_not_be_known(tmp_path):
    assert holder(tmp_path) == "another run"
