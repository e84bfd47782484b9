"""Runs a command under limits and leaves no process of it behind.

This file is started by its path, so it imports nothing of ream. Three processes are involved. The **supervisor** is
this one. It starts the **init** of the command, and that starts the **command**. Where the kernel lets a user make a
PID namespace, the init is the first process in it: the command cannot see or signal the supervisor, its signals do not
reach the init, and when the init ends, the kernel kills whatever the command has started. Elsewhere the supervisor is a
subreaper: it inherits orphans, even those in sessions of their own, and kills until there are none. The init then only
stands between, so that a command which kills its parent ends itself.

The command has limits of memory, of file size and of the number of processes and threads, and no network if the kernel
lets a user make a network namespace. It ends when ``control`` is closed, which also happens when the process that
started this one is killed; then this one removes the command's folder.

This keeps programs with mistakes in check. It is not a security boundary: the command can read all files of the user.
"""

import ctypes
import json
import os
import re
import resource
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
EVERY = 100  # milliseconds from one count of the command's processes to the next
OWN_COUNT = (5, 14)  # the first Linux that counts RLIMIT_NPROC in each user namespace by itself


def isolate(memory: int, output: int, namespaces: Sequence[int]) -> None:
    """Inherit orphans, enter new namespaces, and limit memory and file sizes of this process and its children.

    Args:
        memory: limit of the address space of each process, in bytes.
        output: limit of the size of each file, in bytes.
        namespaces: sets of flags of unshare(2). The first that the kernel allows is used; many containers allow none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    any(libc.unshare(flags) == 0 for flags in namespaces)
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, output), (resource.RLIMIT_CORE, 0)):
        _limit(kind, limit)


def _limit(kind: int, limit: int) -> None:
    """Lower a limit of this process and of its children."""
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def be_init(command: list[str], passed: Sequence[int], processes: int) -> None:
    """Run a command, drop its standard error, and reap orphans until it has ended. Dies with the supervisor.

    Args:
        command: path of a program and its arguments.
        passed: file descriptors that the command inherits.
        processes: limit of the number of processes and threads, where the kernel counts those of this namespace alone.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getpid() == 1 and tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= OWN_COUNT:
        _limit(resource.RLIMIT_NPROC, processes)
    silent = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
    for descriptor in passed:
        os.close(descriptor)
    while os.wait()[0] != child:
        pass


def tasks_below(process: int) -> Iterator[int]:
    """The processes below a process, each as often as it has threads."""
    for task in _listed(f"/proc/{process}/task"):
        with suppress(OSError):
            for child in Path(f"/proc/{process}/task/{task}/children").read_text().split():
                yield from (int(child) for _ in _listed(f"/proc/{child}/task"))
                yield from tasks_below(int(child))


def _listed(folder: str) -> list[str]:
    """The names in a folder; none if its process has ended."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def kill_children() -> None:
    """Kill and reap until there are no children; the children of a killed process become ours."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        children = [int(child) for child in listing.read_text().split()]
        for child in children:
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if children else os.WNOHANG)  # no child listed: an orphan may have come since
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def supervise(
    command: list[str],
    control: int,
    passed: list[int],
    folder: str,
    memory: int,
    output: int,
    processes: int,
    namespaces: list[int],
) -> None:
    """Run a command until it ends, has too many processes, or ``control`` is written to or closed.

    Then wait for ``control``. If it is closed and nothing was written to it, remove the command's folder.

    Args:
        command: path of a program and its arguments.
        control: file descriptor of a pipe, whose other end only the process that started this one has.
        passed: file descriptors that the command inherits.
        folder: folder of the command.
        memory: limit of the address space of each process, in bytes.
        output: limit of the size of each file, in bytes.
        processes: limit of the number of processes and threads.
        namespaces: see `isolate`.
    """
    isolate(memory, output, namespaces)
    os.set_inheritable(control, False)
    passed = [*passed, 0, 1]
    init = os.fork()
    if init == 0:
        os.close(control)
        be_init(command, passed, processes)
        os._exit(0)
    for descriptor in passed:
        os.close(descriptor)
    poll = select.poll()
    for descriptor in (control, os.pidfd_open(init)):
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while not poll.poll(EVERY) and _at_most(processes, tasks_below(os.getpid())):
        pass
    kill_children()
    if not os.read(control, 1):
        import shutil  # not needed as a rule, and slower to import than everything else here

        shutil.rmtree(folder, ignore_errors=True)


def _at_most(number: int, tasks: Iterator[int]) -> bool:
    """Whether there are at most so many tasks; looks at no more than one beyond."""
    return all(count <= number for count, _ in enumerate(tasks, 1))


if __name__ == "__main__":
    supervise(**json.loads(sys.argv[1]))
