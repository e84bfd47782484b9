"""One stage as a child process: its output line by line, its progress, how it ended, and how it is stopped."""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ream.machine.progress import EVENTS

POLL_SECONDS = 1.0
STOP_SECONDS = 10.0
LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")
MODULES = {"ream": "ream.commands.cli", "dvc": "dvc"}
KILLED = frozenset({128 + signal.SIGKILL, 128 + signal.SIGTERM})
# What DVC says after every stage and is of no use in a log of many.
NOISE = re.compile(
    r"^$|^Updating lock file|^To track the changes with git|^\tgit add|^To enable auto staging|"
    r"^\tdvc config core.autostage|^Use `dvc push`|^Stage '.*' didn't change, skipping|"
    r"^Data and pipelines are up to date"
)

Say = Callable[[str], None]
Tell = Callable[[dict[str, Any]], None]


class StageError(Exception):
    """A stage ended badly.

    Attributes:
        again: whether the same command may well succeed: a lock was held, or something killed the process.
    """

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message, again)
        self.message, self.again = message, again

    def __str__(self) -> str:
        return self.message


class Children:
    """Child processes that are stopped together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def start(self, command: list[str], root: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own, both outputs in one pipe.

        Raises:
            StageError: everything has been stopped.
        """
        with self._lock:
            if self._stopped:
                raise StageError("not started: the flow is being stopped", again=False)
            child = subprocess.Popen(
                command,
                cwd=root,
                env=with_programs({**os.environ, **environment}),
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
        """The child is gone."""
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        """Interrupt all children and wait until they are gone; no more can be started.

        An interrupt lets DVC release its locks and the stage remove what it had half written; what is still there after
        STOP_SECONDS is killed.
        """
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for child in running:
            _signal(child, signal.SIGINT)
        _await(running, STOP_SECONDS)
        for child in running:
            _signal(child, signal.SIGKILL)
            child.wait()
        _await(running, STOP_SECONDS)


def with_programs(environment: dict[str, str]) -> dict[str, str]:
    """An environment whose PATH ends with the folder of this Python's programs: a stage's command is `ream`."""
    return environment | {"PATH": f"{environment.get('PATH', '')}{os.pathsep}{Path(sys.executable).parent}"}


def reproduce(name: str, root: Path, environment: Mapping[str, str], say: Say, tell: Tell, children: Children) -> None:
    """Run `dvc repro --single-item` for a stage: `run`."""
    run(name, [*program("dvc", environment), "repro", "--single-item", name], root, environment, say, tell, children)


def program(name: str, environment: Mapping[str, str]) -> list[str]:
    """`ream` or `dvc` as a stage's environment has it first in its PATH (`flows.warm`), else this Python's."""
    path = environment.get("PATH")
    if path is not None:
        first = Path(path.partition(os.pathsep)[0]) / name
        if first.exists():
            return [str(first)]
    return [sys.executable, "-m", MODULES[name]]


def run(
    name: str,
    command: list[str],
    root: Path,
    environment: Mapping[str, str],
    say: Say,
    tell: Tell,
    children: Children,
) -> None:
    """Run a stage's process to its end.

    Args:
        name: of the stage.
        command: of DVC, or the stage's own.
        root: of the repository.
        environment: on top of this process's.
        say: gets every line of output.
        tell: gets the latest progress event (`ream.machine.progress`), about once a second.
        children: of the flow run in this process; know the stage's while it runs.

    Raises:
        StageError: it failed; says why in a line.
    """
    with tempfile.TemporaryDirectory(prefix="ream-stage-") as folder:
        events = Path(folder) / "progress"
        child = children.start(command, root, {**environment, EVENTS: str(events)})
        try:
            errors = _follow(child, events, say, tell)
            code = child.wait()
        finally:
            children.ended(child)
            if child.stdout is not None:
                child.stdout.close()
    if code != 0:
        raise failure(name, code, errors)


def failure(name: str, code: int, errors: list[str]) -> StageError:
    """What went wrong, from DVC's exit status and from the lines that begin as errors do.

    Args:
        name: of the stage. code: exit status of DVC. errors: lines, in order.
    """
    said = " ".join(errors)
    exited = EXITED.search(said)
    status = int(exited.group(1)) if exited else code
    own = [line.removeprefix("error: ") for line in errors if line.startswith("error: ")]
    if LOCKED.search(said):
        return StageError(f"stage {name}: another DVC process held a lock", again=True)
    if status < 0 or status in KILLED:
        number = -status if status < 0 else status - 128
        return StageError(f"stage {name} was killed by {signal.Signals(number).name}", again=True)
    reason = own[-1] if own else errors[-1].removeprefix("ERROR: ") if errors else f"exit status {code}"
    return StageError(f"stage {name}: {reason}", again=False)


def _follow(child: "subprocess.Popen[str]", events: Path, say: Say, tell: Tell) -> list[str]:
    """Pass on output and progress until the output ends; the lines that begin as errors do."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert child.stdout is not None
    reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
    reader.start()
    errors, last = list[str](), dict[str, Any]()
    while True:
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            event = latest(events)
            if event is not None and event != last:
                tell(event)
                last = event
            continue
        if line is None:
            break
        if not NOISE.match(line):
            say(line)
        if line.startswith(("ERROR:", "error:")):
            errors.append(line)
    reader.join()
    event = latest(events)
    if event is not None and event != last:
        tell(event)
    return errors


def latest(events: Path) -> dict[str, Any] | None:
    """The last whole event of a file that is being appended to."""
    try:
        lines = events.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return None
    return json.loads(lines[-1]) if lines else None


def _read(stream: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    for line in stream:
        lines.put(line.rstrip())
    lines.put(None)


def _await(children: "list[subprocess.Popen[str]]", seconds: float) -> None:
    """Wait until all children and what they have started are gone, but not longer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(_group_lives(child) for child in children):
        time.sleep(0.05)


def _group_lives(child: "subprocess.Popen[str]") -> bool:
    """Whether a child, or anything that it has started in its process group, still runs; zombies do not."""
    child.poll()
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    return not stats or any(_runs_in(child.pid, stat) for stat in stats)


def _runs_in(group: int, stat: Path) -> bool:
    """Whether a process, by its /proc/PID/stat, is of a process group and no zombie."""
    try:
        state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False  # gone meanwhile
    return int(its_group) == group and state not in "ZX"


def _signal(child: "subprocess.Popen[str]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
