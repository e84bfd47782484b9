"""A stage ends when what started it has ended: DVC, or the flow.

`dvc repro` killed by itself would leave its stage running, for hours and with the locks of its state. The parent-death
signal of Linux cannot prevent that: it tells of the parent alone, which is a shell where the shell of DVC does not
replace itself by the command, and of the one thread of it that started the stage. So a thread watches DVC itself. A
command that was started by hand is not watched, because people close their terminals on purpose.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

DVC = "DVC_STAGE"  # DVC gives it to the commands of stages
FLOW = "REAM_FLOW_PID"  # the flow gives its process id to everything that it starts
POLL_SECONDS = 1.0
PROCESSES = Path("/proc")
INIT = 1  # id of the process that inherits orphans
ENDED = 0  # stands for the id of a process that has ended


def end_with_starter(environment: Mapping[str, str] = os.environ) -> None:
    """Let this process end, as by SIGTERM, as soon as the DVC or the flow that started it has ended.

    Nothing happens if neither did.

    Args:
        environment: says who started this process.
    """
    starters = set[int]()
    if environment.get(FLOW, "").isdecimal():
        starters.add(int(environment[FLOW]))
    if DVC in environment:
        starter = _dvc_process()
        starters |= set() if starter is None else {starter}
    for starter in starters:
        threading.Thread(target=_watch, args=(starter, os.getppid()), name="starter", daemon=True).start()


def _dvc_process() -> int | None:
    """The process id of the DVC that runs this stage; ENDED if it has ended, None if there is nothing to watch.

    It is the nearest ancestor that was not started with the environment of a stage: shells and the likes of torchrun
    stand between. A fork of the flow's process of the imports has got that environment after its start. It ends with
    its parent, which in turn sees to it that the fork does not outlive DVC (flows/fork_server.py).
    """
    if not PROCESSES.is_dir():  # not Linux
        return ENDED if os.getppid() == INIT else os.getppid()
    process, parent = os.getpid(), os.getppid()
    if not _in_stage(process):
        return parent
    while _in_stage(parent):
        process, parent = parent, _parent_and_group(parent)[0]
    group = _parent_and_group(process)[1]
    if not group:
        return ENDED
    if not parent or process == group:
        return None  # DVC is outside of this container, or the command has left DVC's process group on purpose (setsid)
    # DVC starts commands in its own process group, so an ancestor in another one has inherited this process.
    return parent if _parent_and_group(parent)[1] == group else ENDED


def _in_stage(process: int) -> bool:
    """Whether a process was started with the environment of a stage; False if it has ended or is another user's."""
    try:
        variables = (PROCESSES / str(process) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(variable.startswith(f"{DVC}=".encode()) for variable in variables)


def _parent_and_group(process: int) -> tuple[int, int]:
    """The process ids of a process's parent and of its process group; 0 and 0 if it has ended."""
    try:
        fields = (PROCESSES / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[1]), int(fields[2])


def _watch(starter: int, parent: int) -> None:
    """Wait until a process has ended, then end this one.

    Args:
        starter: the process id; ENDED for a process that has ended before.
        parent: the process id of this process's parent when the watch was started.
    """
    if starter != ENDED:
        _wait(starter, parent)
    os.kill(os.getpid(), signal.SIGTERM)


def _wait(starter: int, parent: int) -> None:
    """Wait until a process has ended; the arguments are those of `_watch`."""
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(starter)
        except ProcessLookupError:
            return
        except OSError:  # some sandboxes refuse this system call
            handle = -1
        if handle >= 0:
            ended = select.poll()
            ended.register(handle, select.POLLIN)
            ended.poll()
            return
    while os.getppid() == parent if starter == parent else _is_alive(starter):
        time.sleep(POLL_SECONDS)


def _is_alive(process: int) -> bool:
    """Whether a process of this user has not ended, or has ended and its parent has not noticed yet."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
