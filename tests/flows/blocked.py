"""Processes that wait until a test lets them go on, on any slow machine."""

import fcntl
import os
import time
from pathlib import Path


class BlockedStages:
    """Keeps every `ream stage` of some repositories from starting its work, so that one is certainly running.

    A stage first removes what killed ones have left, and waits for other processes that do so: here, for the test.
    """

    def __init__(self, *roots: Path) -> None:
        """Hold the folders of temporary files of the repositories."""
        self._files = []
        for root in roots:
            scratch = root / "artifacts" / ".state" / "scratch"
            (scratch / "run-killed").mkdir(parents=True, exist_ok=True)
            file = open(scratch / "lock", "w")  # noqa: SIM115 - until `release`
            fcntl.flock(file, fcntl.LOCK_EX)
            self._files.append(file)

    def wait(self, seconds: float = 90.0) -> None:
        """Wait until a stage waits."""
        held = {os.fstat(file.fileno()).st_ino for file in self._files}
        end = time.monotonic() + seconds
        while not held & waited_for():
            assert time.monotonic() < end, "no stage has started"
            time.sleep(0.05)

    def release(self) -> None:
        """Let stages do their work from now on."""
        for file in self._files:
            file.close()


def waited_for() -> set[int]:
    """Inodes of the files for whose locks processes wait."""
    lines = Path("/proc/locks").read_text().splitlines()
    return {int(line.split()[6].rpartition(":")[2]) for line in lines if " -> " in line}
