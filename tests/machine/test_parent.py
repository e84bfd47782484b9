import signal
import subprocess
import sys

import pytest

CHILD = """
import signal, sys, time
import ream.machine.parent as parent
parent.END_SECONDS = 0.5
if {deaf}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(sys.stdin.readline().strip(), flush=True)
parent.end_with_parent()
print("goes on", flush=True)
time.sleep({seconds})
"""


def child(deaf, seconds):
    """A process that reads a line and then ends with its stdin."""
    code = CHILD.format(deaf=deaf, seconds=seconds)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdin.write("a task\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["a task\n", "goes on\n"]
    return process


@pytest.mark.parametrize(("deaf", "ended_by"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_a_process_ends_with_its_parents_end_of_the_pipe(deaf, ended_by):
    """Asked to at first, then killed."""
    process = child(deaf, 60)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(20) == -ended_by
    process.stdout.close()
    process.stderr.close()


def test_a_process_that_is_done_ends_well_while_its_parent_lives():
    """The thread that waits for the end of stdin is in no one's way."""
    process = child(False, 0.1)
    assert process.wait(20) == 0
    assert process.communicate() == ("", "")
