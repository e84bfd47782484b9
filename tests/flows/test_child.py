"""A stage's process: its output, how it ended, whether to run it again, and how it is stopped."""

import os
import sys
import threading
import time

import pytest

from flows import child, process_group
from flows.child import BusyError, Children, StageError, failure, latest, run
from ream.machine.starter import FLOW

INTERRUPTIBLE = "import time\ntry: print('up', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: print('tidied')"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"


@pytest.fixture
def stage(tmp_path):
    """Runs a Python program as a stage; returns its lines of output and its progress events."""

    def go(program, children=None, **environment):
        said, told = [], []
        command = [sys.executable, "-c", program]
        run("s@x", command, tmp_path, environment, said.append, told.append, children or Children())
        return said, told

    return go


def test_lines_are_passed_on_and_noise_is_not(stage):
    program = "print('one'); print(); print('Updating lock file \\'dvc.lock\\''); print('two', flush=True)"
    said, told = stage(f"import sys; {program}; print('bar\\rbar', file=sys.stderr)")
    assert [line for line in said if line != "bar"] == ["one", "two"]
    assert said.count("bar") == 2
    assert told == []


def test_progress_is_told(stage):
    program = (
        "import json, os\nwith open(os.environ['REAM_PROGRESS'], 'a') as f: f.write(json.dumps({'done': 3}) + '\\n')"
    )
    assert stage(program)[1] == [{"done": 3}]


def test_the_environment_is_on_top_of_this_ones(stage, monkeypatch):
    monkeypatch.setenv("OF_THIS", "kept")
    said, _ = stage("import os; print(os.environ['OF_THIS'], os.environ['ADDED'])", ADDED="new")
    assert said == ["kept new"]


def test_a_stage_is_told_which_process_is_the_flow(stage):
    """It ends with that process (`ream.machine.starter`)."""
    assert stage(f"import os; print(os.environ['{FLOW}'])")[0] == [str(os.getpid())]


def test_an_incomplete_event_is_not_read(tmp_path):
    path = tmp_path / "events"
    assert latest(path) is None
    path.write_text('{"done": 1}\n{"done"')
    assert latest(path) == {"done": 1}


@pytest.mark.parametrize(
    ("code", "lines", "message", "again"),
    [
        (
            255,
            ["error: source 'x' is unknown", "ERROR: failed to reproduce 's@x': failed to run: r, exited with 2"],
            "stage s@x: source 'x' is unknown",
            False,
        ),
        (255, ["ERROR: failed to reproduce 's@x': failed to run: ream stage s, exited with 1"], "exited with 1", False),
        (255, ["ERROR: failed to run: ream stage s, exited with -9"], "stage s@x was killed by SIGKILL", True),
        (255, ["ERROR: failed to run: ream stage s, exited with 137"], "stage s@x was killed by SIGKILL", True),
        (-15, [], "stage s@x was killed by SIGTERM", True),
        (255, ["error: no such file", "  (PID 7): dvc repro"], "stage s@x: no such file", False),
        (3, [], "stage s@x: exit status 3", False),
    ],
)  # fmt: skip
def test_what_went_wrong_and_whether_to_try_again(code, lines, message, again):
    error = failure("s@x", code, lines)
    assert message in str(error)
    assert "\n" not in str(error)
    assert error.again is again


def test_who_held_a_lock_is_known(stage):
    """DVC names it in a line of its own."""
    lines = ["ERROR: '/a/b' is busy, it is being blocked by:", "  (PID 7): dvc repro", "", "If there are no"]
    with pytest.raises(BusyError, match=r"\(PID 7\): dvc repro$") as error:
        stage(f"import sys; sys.exit(print({chr(10).join(lines)!r}) or 255)")
    assert not error.value.again
    assert isinstance(failure("s@x", 255, ["ERROR: Unable to acquire lock. Most likely"]), BusyError)


def test_a_failed_process_raises(stage):
    with pytest.raises(StageError, match=r"stage s@x: no such thing") as error:
        stage("import sys; print('error: no such thing', file=sys.stderr); sys.exit(2)")
    assert not error.value.again


@pytest.mark.parametrize("program", [INTERRUPTIBLE, STUBBORN], ids=["interruptible", "stubborn"])
def test_stopping_ends_the_whole_process_group(stage, program, monkeypatch):
    monkeypatch.setattr(child, "STOP_SECONDS", 1.5)
    children, up = Children(), threading.Event()
    errors, said = [], []

    def go():
        try:
            # Leaves the interrupt to its own child; by itself, subprocess kills that a quarter of a second later.
            waits = "import signal, subprocess, sys; signal.signal(signal.SIGINT, lambda *_: None)"
            grandchild = f"{waits}; sys.exit(subprocess.call([sys.executable, '-c', {program!r}]))"
            run("s@x", [sys.executable, "-c", grandchild], os.getcwd(), {}, note, lambda event: None, children)
        except StageError as error:
            errors.append(error)

    def note(line):
        said.append(line)
        if line == "up":
            up.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert up.wait(20)
    (process,) = children._running
    started = time.monotonic()
    children.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - started < 15
    assert not process_group.group_runs(process)
    assert ("tidied" in said) is (program is INTERRUPTIBLE), "an interrupt, so that it can tidy up"
    with pytest.raises(StageError, match="not started"):
        stage("print('too late')", children)
