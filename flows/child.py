"""A stage as a child process: its output line by line, its progress, how it ended, and how it is stopped."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from flows.process_group import signal_group, wait_for_groups
from ream.machine.progress import EVENTS
from ream.machine.starter import FLOW

POLL_SECONDS = 1.0
STOP_SECONDS = 10.0
ERRORS = ("ERROR:", "error:", "  (PID ")  # how lines begin that tell of errors; the last names who holds a lock
LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")
KILLED = frozenset({128 + signal.SIGKILL, 128 + signal.SIGTERM})
# Lines that DVC prints around every stage. They only clutter a log that many stages share.
NOISE = re.compile(
    r"^$|^Updating lock file|^To track the changes with git|^\tgit add|^To enable auto staging|"
    r"^\tdvc config core.autostage|^Use `dvc push`|^Stage '.*' didn't change, skipping|"
    r"^Data and pipelines are up to date"
)

Log = Callable[[str], None]
Event = dict[str, Any]  # a progress event, as `ream.machine.progress` writes it
OnProgress = Callable[[Event], None]


class StageError(Exception):
    """A stage failed.

    Attributes:
        message: the reason, in one line.
        again: whether the same command may succeed if it is run again, because its process was killed.
    """

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message, again)
        self.message, self.again = message, again

    def __str__(self) -> str:
        return self.message


class BusyError(StageError):
    """A DVC command found a lock held by another process, and gave up before it had changed anything."""


class Children:
    """Child processes that are stopped together.

    Attributes:
        stopped: set once `stop` has been called.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def start(self, command: list[str], root: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        """Start a command in its own process group, with stdout and stderr in one pipe.

        Args:
            command: program and arguments.
            root: the working directory.
            environment: variables added to those of this process.

        Raises:
            StageError: `stop` has been called.
        """
        with self._lock:
            if self.stopped.is_set():
                raise StageError("not started: the flow is being stopped", again=False)
            child = subprocess.Popen(
                command,
                cwd=root,
                env=with_programs({**os.environ, **environment, FLOW: str(os.getpid())}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            self._running.add(child)
            return child

    def ended(self, child: "subprocess.Popen[str]") -> None:
        """Forget a child that has ended."""
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        """Interrupt all children, wait until they are gone, and refuse to start any more.

        The interrupt lets DVC release its locks and the stage remove half-written files. Children that still run after
        STOP_SECONDS are killed.
        """
        with self._lock:
            self.stopped.set()
            running = list(self._running)
        for child in running:
            signal_group(child, signal.SIGINT)
        wait_for_groups(running, STOP_SECONDS)
        for child in running:
            signal_group(child, signal.SIGKILL)
            child.wait()
        wait_for_groups(running, STOP_SECONDS)


def with_programs(environment: dict[str, str]) -> dict[str, str]:
    """The environment with this Python's folder of programs at the end of PATH, because a stage's command is `ream`."""
    return environment | {"PATH": f"{environment.get('PATH', '')}{os.pathsep}{Path(sys.executable).parent}"}


def dvc_program(environment: Mapping[str, str]) -> list[str]:
    """The command for `dvc`: the one that is first in the environment's PATH (`flows.warm`), else this Python's."""
    path = environment.get("PATH")
    if path is not None:
        first = Path(path.partition(os.pathsep)[0]) / "dvc"
        if first.exists():
            return [str(first)]
    return [sys.executable, "-m", "dvc"]


def run(
    name: str,
    command: list[str],
    root: Path,
    environment: Mapping[str, str],
    log: Log,
    on_progress: OnProgress,
    children: Children,
) -> None:
    """Run a stage's process to its end.

    Args:
        name: the stage.
        command: program and arguments.
        root: the working directory.
        environment: variables added to those of this process.
        log: called with every line of output.
        on_progress: called with the latest progress event, about once a second.
        children: the child processes of the flow run; the stage's is among them while it runs.

    Raises:
        StageError: the stage failed; its message says why in one line.
    """
    with tempfile.TemporaryDirectory(prefix="ream-stage-") as folder:
        events = Path(folder) / "progress"
        child = children.start(command, root, {**environment, EVENTS: str(events)})
        try:
            errors = _follow(child, events, log, on_progress)
            code = child.wait()
        finally:
            children.ended(child)
            if child.stdout is not None:
                child.stdout.close()
    if code != 0:
        raise failure(name, code, errors)


def failure(name: str, code: int, errors: list[str]) -> StageError:
    """The error of a failed stage, from its exit status, or that of DVC, and the error lines.

    Args:
        name: the stage.
        code: the exit status.
        errors: the lines of output that begin as ERRORS has it, in order.
    """
    text = " ".join(errors)
    exited = EXITED.search(text)
    status = int(exited.group(1)) if exited else code
    dvc_errors = [line.removeprefix("ERROR: ") for line in errors if line.startswith("ERROR: ")]
    stage_errors = [line.removeprefix("error: ") for line in errors if line.startswith("error: ")]
    if LOCKED.search(text):
        return BusyError("\n".join(errors), again=False)
    if status < 0 or status in KILLED:
        number = -status if status < 0 else status - 128
        return StageError(f"stage {name} was killed by {signal.Signals(number).name}", again=True)
    if stage_errors:
        reason = stage_errors[-1]
    elif dvc_errors:
        reason = dvc_errors[-1]
    else:
        reason = f"exit status {code}"
    return StageError(f"stage {name}: {reason}", again=False)


def _follow(child: "subprocess.Popen[str]", events: Path, log: Log, on_progress: OnProgress) -> list[str]:
    """Pass on a child's output and progress until the output ends; returns its error lines."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert child.stdout is not None
    reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
    reader.start()
    errors, last = list[str](), Event()
    while True:
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            event = latest(events)
            if event is not None and event != last:
                on_progress(event)
                last = event
            continue
        if line is None:
            break
        if not NOISE.match(line):
            log(line)
        if line.startswith(ERRORS):
            errors.append(line)
    reader.join()
    event = latest(events)
    if event is not None and event != last:
        on_progress(event)
    return errors


def latest(events: Path) -> Event | None:
    """The last complete event in a file that is still being written; None where there is none yet."""
    try:
        lines = events.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return None
    return json.loads(lines[-1]) if lines else None


def _read(stream: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    """Put a stream's lines into a queue, then None."""
    for line in stream:
        lines.put(line.rstrip())
    lines.put(None)
