"""A process that ends when the one that started it does, however that comes about."""

import os
import signal
import threading
import time

STDIN = 0
END_SECONDS = 10.0  # between being asked to end and being killed


def end_with_parent() -> None:
    """From now on, end this process at the end of its stdin, a pipe whose other end its parent keeps open.

    It gets SIGTERM then, and is killed if it has not ended after END_SECONDS.
    """
    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()


def _end_with_stdin() -> None:
    """Wait for the end of stdin, which may have been read up to some line, and end this process.

    sys.stdin is not used: its lock, held by a thread at the end of the process, would be a fatal error.
    """
    while os.read(STDIN, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
