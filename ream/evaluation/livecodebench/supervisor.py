"""Runs a command under limits and leaves no process of it behind.

This file is started by its path, so it imports nothing of ream. The command has limits of memory and of file size, and
no network if the kernel lets a user make a network namespace. It ends when ``control`` is closed, which also happens
when the process that started this one is killed; then this one removes the command's folder. Everything that the
command has started ends with it: as a subreaper, this process inherits orphans, even those in sessions of their own.

This keeps programs with mistakes in check. It is not a security boundary: the command can read all files of the user.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def isolate(memory: int, output: int) -> None:
    """Inherit orphans, leave the network, and limit memory and file sizes (bytes) of this process and its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)  # many containers refuse this; then the network stays
    limits = ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, output), (resource.RLIMIT_CORE, 0))
    for kind, limit in limits:
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def kill_children() -> None:
    """Kill and reap until there are no children; the children of a killed process become ours."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        children = [int(child) for child in listing.read_text().split()]
        for child in children:
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if children else os.WNOHANG)  # no child listed: an orphan may have come since
        except ChildProcessError:
            return


def supervise(command: list[str], control: int, passed: list[int], folder: str, memory: int, output: int) -> None:
    """Run a command until it ends or ``control`` is written to or closed; its standard error is dropped.

    Then wait for either. If ``control`` is closed and nothing was written to it, remove the command's folder.

    Args:
        command: path of a program and its arguments.
        control: file descriptor of a pipe, whose other end only the process that started this one has.
        passed: file descriptors that the command inherits.
        folder: folder of the command.
        memory: limit of the address space of each process, in bytes.
        output: limit of the size of each file, in bytes.
    """
    isolate(memory, output)
    os.set_inheritable(control, False)
    silent = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
    for descriptor in (*passed, 0, 1):
        os.close(descriptor)
    poll = select.poll()
    for descriptor in (control, os.pidfd_open(child)):
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    poll.poll()
    kill_children()
    if not os.read(control, 1):
        import shutil  # not needed as a rule, and slower to import than everything else here

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    supervise(**json.loads(sys.argv[1]))
