"""Waiting for DVC's locks, for as long as the process that holds one lives, and saying which process that is.

DVC has two kinds of locks: one on the repository, for a command or for the moments before and after a stage, and one on
the paths of each stage that runs. DVC itself gives up after three seconds, or at once. Both locks end with their
holder: the operating system releases the first, and DVC takes over those of the second whose process is gone.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flows.child import BusyError, Log, StageError

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage as DvcStage

POLL_SECONDS = 0.5
FIRST_SECONDS = 3.0  # until the log says what is waited for
AGAIN_SECONDS = 60.0  # until it says so again
BLOCKER = re.compile(r"\(PID (\d+)\): ([^\n]*)")  # in DVC's message about paths
STOPPED = "not started: the flow is being stopped"
Result = TypeVar("Result")


def until_free(attempt: Callable[[], Result], root: Path, log: Log, stopped: threading.Event | None = None) -> Result:
    """The result of an attempt that needs a lock of DVC; it is repeated until no other process holds the lock.

    Args:
        attempt: raises DVC's LockError or `BusyError` if the lock is held, before it has changed anything.
        root: the repository.
        log: told which process holds the lock, after FIRST_SECONDS and then every AGAIN_SECONDS.
        stopped: ends the waiting when it is set.

    Raises:
        StageError: ``stopped`` has been set.
    """
    from dvc.lock import LockError

    speak_at = time.monotonic() + FIRST_SECONDS
    while True:
        try:
            return attempt()
        except (LockError, BusyError) as error:
            message = str(error)
        if time.monotonic() >= speak_at:
            log(f"waiting for DVC's lock, held by {holder(root, message)}")
            speak_at = time.monotonic() + AGAIN_SECONDS
        if stopped is None:
            time.sleep(POLL_SECONDS)
        elif stopped.wait(POLL_SECONDS):
            raise StageError(STOPPED, again=False)


@contextmanager
def locked_repo(repo: "Repo", log: Log, stopped: threading.Event | None = None) -> Iterator[None]:
    """Hold DVC's lock on a repository; the arguments are those of `until_free`.

    What DVC remembers of the repository's files is forgotten before and after, as around its own commands.
    """
    from dvc.repo import lock_repo

    with ExitStack() as stack:
        until_free(lambda: stack.enter_context(lock_repo(repo)), Path(repo.root_dir), log, stopped)
        yield


@contextmanager
def locked_paths(stage: "DvcStage", command: str) -> Iterator[None]:
    """Hold DVC's locks on the paths of a stage, as DVC's decorator `rwlocked` does for `Stage.reproduce`.

    To be entered while the repository is locked; may last longer than that.

    Args:
        stage: reads its dependencies and writes its outputs.
        command: what the list of locked paths calls this process. The same process may lock a path again, under the
            same name.

    Raises:
        LockError: another process, or this one under another name, works on one of the paths.
    """
    from dvc.dependency.db import AbstractDependency
    from dvc.dependency.repo import RepoDependency
    from dvc.rwlock import rwlock

    repo = stage.repo
    read = [dep.fs_path for dep in stage.deps if not isinstance(dep, RepoDependency | AbstractDependency)]
    write = [out.fs_path for out in stage.outs]
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with rwlock(repo.tmp_dir, repo.fs, command, read, write, hardlink):
        yield


def forget_ended(repo: "Repo") -> None:
    """Remove processes that have ended from DVC's list of locked paths; to be called while the repository is locked.

    DVC itself does so only where such an entry is in its way, and another process may have got the id by then.
    """
    import psutil
    from dvc.rwlock import _edit_rwlock  # the only function that reads and writes the list under its own lock

    with _edit_rwlock(repo.tmp_dir, repo.fs, repo.config["core"].get("hardlink_lock", False)) as held:
        for path, writer in list(held["write"].items()):
            if not psutil.pid_exists(writer["pid"]):
                del held["write"][path]
        for path, readers in list(held["read"].items()):
            held["read"][path] = [reader for reader in readers if psutil.pid_exists(reader["pid"])]
            if not held["read"][path]:
                del held["read"][path]


def holder(root: Path, message: str) -> str:
    """The process that holds a lock: its id and command line, as far as they are known.

    Args:
        root: the repository.
        message: of DVC's error. It names who holds paths, but not who holds the repository.
    """
    blockers = dict.fromkeys(BLOCKER.findall(message))
    if blockers:
        return ", ".join(f"process {process}: {command}" for process, command in blockers)
    # Holders write their ids into the lock files. The second guards the list of locked paths.
    for name in ("lock", "rwlock.lock"):
        text = _read(root / ".dvc" / "tmp" / name).strip()
        if text.isdecimal() and int(text) != os.getpid():
            command = _read(Path("/proc") / text / "cmdline").replace("\0", " ").strip()
            return f"process {text}: {command}" if command else f"process {text}"
    return "another process"


def _read(path: Path) -> str:
    """The text of a file; "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
