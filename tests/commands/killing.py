"""A program that runs `ream ...` in forked children (tests/commands/forking.py), killing them where it is told to.

A job is

    {"arguments": [...], "folder": "...", "after": seconds or null, "at": number of an operation or null}

and is answered with ``code`` (-9 for a killed child), ``seconds``, ``said`` (stderr) and ``operations``: what the
child did to files, in order. An operation is one that changes what the next run finds (open for writing, rename,
remove, make or remove a folder, flush to disk) or a read of a safetensors file, which happens between them. ``at``
kills the child right before that operation, ``after`` from outside at any moment.
"""

import mmap
import os
import re
import signal
import sys
import time
from pathlib import Path

from tests.commands.forking import ream, serve

LOG_BYTES = 1 << 20
CHANGES = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir"}


class Log:
    """Lines in memory that a killed child shares with its parent."""

    def __init__(self):
        self.shared = mmap.mmap(-1, LOG_BYTES)
        self.end = 0

    def add(self, line):
        data = line.encode() + b"\n"
        self.shared[self.end : self.end + len(data)] = data
        self.end += len(data)

    def lines(self):
        return self.shared[:].rstrip(b"\0").decode().splitlines()


def watch(log, at):
    """Log every operation of this process and kill it right before number ``at``.

    Args:
        at: a number, or a pattern and the number of the operation among those that it finds.
    """
    pattern, number = at if isinstance(at, list) else ("", at)
    wanted, count = re.compile(pattern), 0

    def operation(line):
        nonlocal count
        if wanted.search(line):
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        log.add(line)

    def audit(event, given):
        if event in CHANGES:
            operation(f"{CHANGES[event]} {given[0]}")
        elif event == "open" and isinstance(given[0], str):
            writes = given[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes and given[0] != os.devnull) or given[0].endswith(".safetensors"):
                operation(f"{'write' if writes else 'read'} {given[0]}")

    flush = os.fsync

    def fsync(handle):
        operation("fsync")
        flush(handle)

    os.fsync = fsync
    sys.addaudithook(audit)


def child(job, log):
    """Run a job in this process, which ends with it."""
    os.chdir(job["folder"])
    with open(os.devnull, "w") as null, open("../stderr", "w") as errors:
        os.dup2(null.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    watch(log, job["at"])
    ream(job["arguments"])


def run(job):
    log, started = Log(), time.monotonic()
    process = os.fork()
    if process == 0:
        child(job, log)
    if job["after"] is not None:
        time.sleep(job["after"])
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "said": (Path(job["folder"]).parent / "stderr").read_text(),
        "operations": log.lines(),
    }


if __name__ == "__main__":
    serve(run)
