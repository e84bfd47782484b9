"""Running code on a stranger's data in a child process that may take only so much time and memory."""

import os
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ream.errors import UserError

SHOWN = 300  # bytes of an error that a child tells
GB = 10**9
REMEDY = "repair it, or fetch it again"


def check_bounded(
    action: Callable[[], object], what: str, seconds: float = 20, memory: int = 2 * GB, remedy: str = REMEDY
) -> None:
    """Run an action in a child of this process and throw its result away.

    The child is a fork, so it needs no imports, and ends for certain: after that much of the processor's time by the
    kernel, and after that much time by SIGKILL. It must not use a GPU or other threads. What it prints is lost.

    Args:
        action: to run.
        what: the data that the action works on, for messages.
        seconds: that it may take.
        memory: in bytes, that it may need beyond what this process has; not limited where the system cannot do it.
        remedy: what to do, for messages.

    Raises:
        UserError: the action raised an error, took longer, needed more memory or crashed.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which the child does not use
        child = os.fork()
    if child == 0:
        _run_and_exit(action, writing, seconds, memory)
    os.close(writing)
    end = time.monotonic() + seconds
    try:
        told, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        answer = os.read(reading, SHOWN + 1) if told else None
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        raise UserError(f"{what} takes more than {seconds:g} s to use; {remedy}")
    if answer == b"":  # it has ended without a word
        raise UserError(
            f"{what} takes more than {seconds:g} s or {memory / GB:g} GB to use, or crashes its library; {remedy}"
        )
    if answer != DONE:
        reason = " ".join(answer.decode("utf-8", errors="replace").split())
        raise UserError(f"{what} cannot be used: {reason}; {remedy}")


DONE = b"\0"


def _run_and_exit(action: Callable[[], object], writing: int, seconds: float, memory: int) -> None:
    """What the child does; it never returns."""
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        sys.stdout = sys.stderr = open(quiet, "w")  # noqa: SIM115 - closed with the process
        with suppress(OSError, ValueError):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        with suppress(OSError, ValueError):
            limit = int(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            action()
            answer = DONE
        except MemoryError:
            answer = f"it needs more than {memory / GB:g} GB of memory".encode()
        except BaseException as error:  # noqa: BLE001 - libraries raise bare ones, and panics; the parent tells
            answer = f"{type(error).__name__}: {error}".encode(errors="replace")
        os.write(writing, answer[:SHOWN] or b"?")
    finally:
        os._exit(0)
