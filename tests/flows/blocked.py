"""A model whose config is a named pipe: the stage that reads it waits there until the test lets it go on."""

import errno
import os
import time
from pathlib import Path

from tests.tiny import build


class BlockedModel:
    """The stage `model` of such a model is surely running once `wait` has returned, however slow the machine."""

    def __init__(self, folder: Path) -> None:
        self.path = build(folder)
        self._pipe = self.path / "config.json"
        self._config = self._pipe.read_bytes()
        self._pipe.unlink()
        os.mkfifo(self._pipe)
        self._writer = -1

    def wait(self, seconds: float = 90.0) -> None:
        """Until a process has opened the config for reading; it gets nothing to read yet."""
        end = time.monotonic() + seconds
        while True:
            try:
                self._writer = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
                return
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            assert time.monotonic() < end, f"nobody has read {self._pipe}"
            time.sleep(0.05)

    def dropped(self) -> None:
        """Who was waiting is gone."""
        os.close(self._writer)

    def release(self) -> None:
        """Let who waits read the config; from now on it is a file."""
        self.repair()
        os.write(self._writer, self._config)
        os.close(self._writer)

    def repair(self) -> None:
        """The config is a file from now on."""
        new = self.path / "config.new"
        new.write_bytes(self._config)
        os.replace(new, self._pipe)
