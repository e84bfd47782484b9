"""Process groups of child processes: send a signal to all of a group, and wait until nothing in it runs."""

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

POLL_SECONDS = 0.05


def signal_group(leader: "subprocess.Popen[str]", number: int) -> None:
    """Send a signal to a child that leads a process group and to everything in the group; do nothing if all are gone.

    Args:
        leader: the child, started in a session of its own.
        number: the signal.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)


def wait_for_groups(leaders: "Sequence[subprocess.Popen[str]]", seconds: float) -> None:
    """Wait until nothing runs in any of the groups, at most for a time.

    Args:
        leaders: the children that lead the groups.
        seconds: the longest wait.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(group_runs(leader) for leader in leaders):
        time.sleep(POLL_SECONDS)


def group_runs(leader: "subprocess.Popen[str]") -> bool:
    """Whether a child, or any process of its group, still runs; zombies do not count."""
    leader.poll()
    try:
        os.killpg(leader.pid, 0)
    except ProcessLookupError:
        return False
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    return not stats or any(_runs_in(leader.pid, stat) for stat in stats)


def _runs_in(group: int, stat: Path) -> bool:
    """Whether the process of a /proc/PID/stat file belongs to a group and is not a zombie."""
    try:
        state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False  # it has ended since the files were listed
    return int(its_group) == group and state not in "ZX"
