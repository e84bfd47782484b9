"""Runs a program that a model wrote in a process of its own with limits (`supervisor`, `program`)."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ream.errors import UserError

HERE = Path(__file__).parent
END = 10.0  # seconds that the supervisor has to kill everything it started
USER, PID, NETWORK = 0x10000000, 0x20000000, 0x40000000  # flags of unshare(2): CLONE_NEWUSER, …PID, …NET
# What the supervisor asks the kernel for, best first. Root may lack user namespaces, and then needs none.
NAMESPACES = (USER | PID | NETWORK, PID | NETWORK, USER | NETWORK, NETWORK)


@dataclass(frozen=True)
class Limits:
    """Limits of a program.

    Attributes:
        seconds: wall-clock seconds for each test case, and for the program's start-up code; the benchmark's limit.
        start: additional seconds for the start of the interpreter on a busy machine.
        memory: bytes of address space of each process.
        output: bytes of each file, including standard output.
        processes: processes and threads at a time, with the one or two that supervise.
    """

    seconds: float = 6.0
    start: float = 20.0
    memory: int = 4 << 30
    output: int = 64 << 20
    processes: int = 256


class Program:
    """A running program that answers one test case after the other.

    When the block exits, the program and everything it started is killed, even if it has killed its supervisor. Its
    standard error is dropped. Its working folder is empty at first and removed at the end, and it gets only the
    environment variables of `environment`.
    """

    def __init__(self, source: str, function: str = "", limits: Limits | None = None) -> None:
        """Prepare a program; it starts when the block is entered.

        Args:
            source: source of the program.
            function: name of the function to call, of class Solution if the program has one; empty for a program that
                reads standard input and prints.
            limits: its limits.

        Raises:
            UserError: the system is not Linux.
        """
        if sys.platform != "linux":
            raise UserError("LiveCodeBench's programs are executed on Linux only; leave livecodebench_v6 out")
        self.source, self.function, self.limits = source, function, limits or Limits()

    def __enter__(self) -> "Program":
        """Start the program."""
        self._folder = tempfile.TemporaryDirectory(prefix="ream-program-", ignore_cleanup_errors=True)
        self._files = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        folder = Path(self._folder.name)
        code, work = folder / "program", folder / "work"
        code.write_bytes(self.source.encode("utf-8", errors="replace"))
        work.mkdir()
        control, self._control = os.pipe()
        go, self._go = os.pipe()
        self._report, report = os.pipe()
        interpreter = [sys.executable, "-s", "-P", "-X", "utf8"]
        request = {
            "command": [*interpreter, str(HERE / "program.py"), str(code), self.function, str(go), str(report)],
            "control": control, "passed": [go, report], "folder": str(folder),
            "memory": self.limits.memory, "output": self.limits.output, "processes": self.limits.processes,
            "namespaces": NAMESPACES,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [*interpreter, "-S", str(HERE / "supervisor.py"), json.dumps(request)],
            stdin=self._files[0],
            stdout=self._files[1],
            pass_fds=(control, go, report),
            cwd=work,
            env=environment(work),
            start_new_session=True,
        )
        for descriptor in (control, go, report):
            os.close(descriptor)
        self._ready, self._state = False, ""
        return self

    def answer(self, given: str) -> tuple[str, str]:
        """The program's answer to a test case.

        Args:
            given: standard input, or one line of JSON for each argument.

        Returns:
            trouble: "error" or "time limit", else "". After trouble the program has ended, and all further answers are
                the same.
            answer: what the program printed, or the returned value as JSON; "" after trouble.
        """
        if not self._ready:
            self._ready, self._state = True, self._heard(self.limits.start + self.limits.seconds)
        if self._state:
            return self._state, ""
        reading, answers = self._files
        for file in self._files:
            os.lseek(file.fileno(), 0, os.SEEK_SET)  # the program shares this position
            os.ftruncate(file.fileno(), 0)
        with open(reading.fileno(), "wb", closefd=False) as writing:
            writing.write(given.encode("utf-8", errors="replace"))
        os.lseek(reading.fileno(), 0, os.SEEK_SET)
        try:
            os.write(self._go, b"g")
        except BrokenPipeError:
            self._state = "error"
            return self._state, ""
        self._state = self._heard(self.limits.seconds)
        if self._state:
            return self._state, ""
        size = os.fstat(answers.fileno()).st_size
        return "", os.pread(answers.fileno(), size, 0).decode("utf-8", errors="replace")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the program and everything it started."""
        with suppress(BrokenPipeError):  # the supervisor has been killed
            os.write(self._control, b"e")  # the folder is removed here
        os.close(self._control)
        ended = os.pidfd_open(self._process.pid)
        # The supervisor has not been waited for, so no other process can have its number.
        os.kill(self._process.pid, signal.SIGCONT)  # without a PID namespace, the program may have stopped it
        _readable(ended, END)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.wait() != 0:  # it did not end by itself, so it may have left something
            kill_all_of(self._folder.name)
        for descriptor in (ended, self._go, self._report):
            os.close(descriptor)
        for file in self._files:
            file.close()
        self._folder.cleanup()

    def _heard(self, seconds: float) -> str:
        """Wait for the program's report: "" if it came, else "time limit" or "error"."""
        if not _readable(self._report, seconds):
            return "time limit"
        return "" if os.read(self._report, 1) else "error"


def kill_all_of(folder: str) -> None:
    """Kill until no process is left whose environment names a program's folder, as that of all its processes does.

    This is for a program that has killed its supervisor, which it can only without a PID namespace. A process that was
    started with another environment is not found, and after END seconds those that do not die are left.
    """
    end = time.monotonic() + END
    while (found := processes_of(folder)) and time.monotonic() < end:
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def processes_of(folder: str) -> list[int]:
    """The processes whose environment names a program's folder."""
    mark = f"={folder}/".encode()
    return [int(process) for process in os.listdir("/proc") if process.isdigit() and mark in _environment(process)]


def _environment(process: str) -> bytes:
    """The environment with which a process was started; empty if it has ended or belongs to another user."""
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def check_machine() -> None:
    """Run a trivial program, so that a machine that cannot run any is refused before a model has run for hours.

    Raises:
        UserError: the program does not run.
    """
    with Program("print(input())") as program:
        trouble, answer = program.answer("1")
    if (trouble, answer) != ("", "1\n"):
        raise UserError(
            f"LiveCodeBench's programs cannot be executed on this machine: a one-line program ends in '{trouble}'; "
            "see the messages above and `ulimit -a`, or leave livecodebench_v6 out"
        )


def environment(work: Path) -> dict[str, str]:
    """The environment variables of a program; the hash seed is fixed, so that no score depends on it."""
    folder = str(work)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip


def _readable(descriptor: int, seconds: float) -> bool:
    """Whether a descriptor can be read, or its other end is closed, within some seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(1000 * seconds))
