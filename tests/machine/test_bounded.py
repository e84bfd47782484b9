"""A child process on a stranger's data: what it may take, and that it ends for certain."""

import os
import time

import psutil
import pytest

from ream.machine.bounded import check_bounded
from tests.models.storage.test_checkpoint import refused

MB = 10**6


def endless():
    while True:
        pass


def sleeping():
    time.sleep(60)


def one_long_operation():
    """In C, which no signal handler of Python can interrupt."""
    return 7 ** (7**12)


def large():
    return bytearray(10**9)


def crashing():
    os.abort()


def failing():
    raise ValueError("no\nsuch thing")


def leaving():
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (endless, "takes more than 0.3 s"),
        (sleeping, "takes more than 0.3 s"),
        (one_long_operation, "takes more than 0.3 s"),
        (large, "needs more than 0.1 GB of memory"),
        (crashing, "or crashes its library"),
        (failing, "cannot be used: ValueError: no such thing"),
        (leaving, "cannot be used: SystemExit: 3"),
    ],
)
def test_what_cannot_be_used(action, words):
    start, before = time.monotonic(), psutil.Process().children()
    refused(lambda: check_bounded(action, "the thing", 0.3, 100 * MB), "the thing ", words)
    assert time.monotonic() - start < 5
    assert psutil.Process().children() == before


def test_what_can_be_used_changes_nothing_here(capfd):
    done = []
    check_bounded(lambda: (done.append(1), print("words"), bytearray(50 * MB)), "the thing", 10, 100 * MB)
    assert done == []
    assert capfd.readouterr() == ("", "")
