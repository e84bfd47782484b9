"""Files that are named pipes: a process that reads one waits until the test releases it, on any slow machine."""

import errno
import os
import time
from pathlib import Path

from tests.tiny import build


def writer_of(pipe: Path, seconds: float = 90.0) -> int:
    """Wait until a process has opened a pipe for reading; returns a file descriptor to write to it."""
    end = time.monotonic() + seconds
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        assert time.monotonic() < end, f"nobody has read {pipe}"
        time.sleep(0.05)


class BlockedModel:
    """A model whose config is a pipe, so that the stage `model` is certainly running once `wait` has returned."""

    def __init__(self, folder: Path) -> None:
        self.path = build(folder)
        self._pipe = self.path / "config.json"
        self._config = self._pipe.read_bytes()
        self._pipe.unlink()
        os.mkfifo(self._pipe)
        self._writer = -1

    def wait(self) -> None:
        """Wait until a process reads the config."""
        self._writer = writer_of(self._pipe)

    def dropped(self) -> None:
        """Close the pipe after the process that was waiting has gone."""
        os.close(self._writer)

    def release(self) -> None:
        """Let the waiting process read the config, which is a file from now on."""
        self.repair()
        os.write(self._writer, self._config)
        os.close(self._writer)

    def repair(self) -> None:
        """Replace the pipe by a file with the config."""
        new = self.path / "config.new"
        new.write_bytes(self._config)
        os.replace(new, self._pipe)
