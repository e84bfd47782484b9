"""One run at a time changes a workspace: it holds a lock that says what it does, and others wait for their turn."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = Path(".prefect") / "turn"
POLL_SECONDS = 0.5
AGAIN_SECONDS = 60.0  # until the log says again what a run waits for
_HELD: set[Path] = set()  # workspaces that this process holds


@contextmanager
def turn(root: Path, name: str, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Hold the workspace for the length of the block, once every run before has ended.

    The operating system frees it when its holder ends, however that happens.

    Args:
        root: the workspace.
        name: what the run does; the runs that wait for it are told.
        on_wait: called with what the run waits for, at once, and every AGAIN_SECONDS.

    Yields:
        Whether the run had to wait.
    """
    if root in _HELD:  # by the command line, around the flow that it starts
        yield False
        return
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        waited = False
        speak_at = time.monotonic()
        while not _taken(file.fileno()):
            if time.monotonic() >= speak_at:
                on_wait(f"waiting for {holder(root)}, which changes this workspace")
                speak_at = time.monotonic() + AGAIN_SECONDS
            waited = True
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(f"{name} (process {os.getpid()})")
        file.flush()
        _HELD.add(root)
        try:
            yield waited
        finally:
            _HELD.discard(root)
            file.truncate(0)


def holder(root: Path) -> str:
    """What the run that holds a workspace does, and its process."""
    try:
        text = (root / FILE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        text = ""
    return f"the run {text}" if text else "another run"


def _taken(descriptor: int) -> bool:
    """Whether the lock could be taken now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
