"""Locks of work that one of several processes does."""

import fcntl
from pathlib import Path
from typing import IO


class Held:
    """A lock of this process; the operating system releases it when the process ends, however it ends."""

    def __init__(self, handle: IO[bytes]) -> None:
        """Args:
        handle: the locked file.
        """
        self._handle = handle

    @staticmethod
    def of(path: Path) -> "Held | None":
        """The lock of a file, which is made where it is missing; None where another process has it."""
        file = open(path, "wb")  # noqa: SIM115 - closed when it is released
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return Held(file)

    def close(self) -> None:
        """Release it."""
        self._handle.close()
