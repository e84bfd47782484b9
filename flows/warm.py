"""Stages without their start: a process that has imported the libraries, of which each `ream` and `dvc` is a fork.

A stage that loads torch, transformers and lm-eval spends six seconds on imports, on a small model more than on its
work, and DVC half a second of each stage. The flow puts a folder with a `ream` of its own first in PATH: it hands its
arguments, folder, environment and standard streams to this process, which forks, and ends with the exit status of the
fork. Nothing else changes; where the process is not (yet) there, the real `ream` runs. The commands themselves are
those of dvc.yaml.

A fork is a fresh interpreter in all that matters: torch has run nothing before, so that there are no threads and no
CUDA context; global random states are seeded anew.
"""

import array
import contextlib
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

START_SECONDS = 60.0
END_SECONDS = 10.0
IDLE_SECONDS = 900.0  # without a stage, as on a Dask worker whose flow was killed: the next stage starts another
LENGTH = 8  # bytes that hold the length of a request
# What stages import, those that only a few need last.
PRELOADED = (
    "dvc.cli.parser",
    *(f"dvc.{module}" for module in ("scm", "dirs", "lock", "rwlock", "cachemgr", "data_cloud", "utils.strictyaml")),
    *(
        f"dvc.repo.{module}"
        for module in ("reproduce", "index", "stage", "brancher", "open_repo", "artifacts", "datasets")
    ),
    *(f"dvc.repo.{module}" for module in ("metrics", "params", "plots", "worktree")),
    *(f"dvc_data.{module}" for module in ("index.fetch", "index.push", "hashfile.status", "hashfile.db.index")),
    "dvc_data.hashfile.db.local",
    "ream.commands.cli",
    "ream.commands.stage",
    *(
        f"ream.stages.{stage}"
        for stage in ("model", "calibration", "saliency", "grouping", "alignment", "statistics", "sequential")
    ),
    "ream.compress.one_shot",
    "ream.compress.sequential",
    "ream.models.decoder",
    "transformers.modeling_utils",
    "transformers.activations",
    "transformers.generation",
    "transformers.models.auto.modeling_auto",
    "scipy.optimize",
    "scipy.cluster.hierarchy",
    "ream.stages.items",
    "ream.stages.evaluate",
    "ream.evaluation.harness",
    "ream.evaluation.shared_context",
    "lm_eval.evaluator",
    "lm_eval.tasks",
    "ream.stages.merge",
    "ream.stages.report",
    "ream.analysis.figures.held_out_loss",
    "matplotlib.figure",
)
# The `ream` that the flow's stages find. Isolated and without site-packages: it starts in 20 ms.
CLIENT = """#!{python} -ISE
import array, json, os, signal, socket, sys
program = os.path.basename(sys.argv[0])
try:
    server = socket.socket(socket.AF_UNIX)
    server.connect({address!r})
except OSError:
    real = {{"ream": [{python!r}, "-m", "ream.commands.cli"], "dvc": [{python!r}, "-m", "dvc"]}}[program]
    os.execv(real[0], [*real, *sys.argv[1:]])
request = json.dumps([program, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
fds = array.array("i", [0, 1, 2])
server.sendmsg([len(request).to_bytes({length}, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
server.sendall(request)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
answer = b""
while not answer.endswith(b"\\n"):
    part = server.recv(64)
    if not part:
        os.kill(os.getpid(), signal.SIGKILL)
    answer += part
code = int(answer)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class Warm:
    """The process of the imports, for as long as the ``with`` block; `path` comes first in its stages' PATH."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Args:
        environment: of the imports, on top of this process's; libraries read some of theirs only once.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="ream-warm-")
        folder = Path(self._folder.name)
        self.address = folder / "socket"
        self.path = folder / "bin"
        self.path.mkdir()
        text = CLIENT.format(python=sys.executable, address=str(self.address), length=LENGTH)
        for program in ("ream", "dvc"):
            (self.path / program).write_text(text)
            (self.path / program).chmod(0o755)
        with open(folder / "log", "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.warm", str(self.address)],
                stdin=subprocess.PIPE,  # nothing is written to it: its end is the end of this process
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def __enter__(self) -> "Warm":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, and all its forks; what is still there after END_SECONDS is killed."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._folder.cleanup()

    def alive(self) -> bool:
        """Whether it runs; it ends by itself after IDLE_SECONDS without a fork."""
        return self._process.poll() is None

    def environment(self) -> dict[str, str]:
        """Of the stages' processes."""
        return {"PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}"}

    def ready(self, seconds: float = START_SECONDS) -> bool:
        """Wait until it takes requests; whether it does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(self.address))
                return True
            time.sleep(0.1)
        return False


def serve(address: Path) -> None:
    """Import, then fork for every request: `Server.run`."""
    for module in PRELOADED:
        importlib.import_module(module)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)  # a client finds a socket that listens, or none
        Server(listener, sys.stdin.fileno()).run(IDLE_SECONDS)


class Server:
    """Forks for requests, passes signals on, and tells each client how its fork ended."""

    def __init__(self, listener: socket.socket, parent: int) -> None:
        """Args:
        listener: for clients. parent: file descriptor of a pipe that ends with the process that this one is for.
        """
        self._listener, self._parent = listener, parent
        self._children: dict[int, tuple[int, socket.socket]] = {}  # pidfd to (pid, client)
        self._clients: dict[int, int] = {}  # file descriptor of a client to pidfd
        self._poll = select.poll()

    def run(self, idle: float) -> None:
        """Until this process is terminated, its parent has gone and the last fork after it, or nothing is asked for.

        Args:
            idle: seconds without a fork.
        """
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._parent, select.POLLIN)
        orphaned = False
        try:
            while self._children or not orphaned:
                events = self._poll.poll(None if self._children else 1000 * idle)
                if not events:
                    break
                for descriptor, _ in events:
                    if descriptor == self._listener.fileno():
                        self._accept()
                    elif descriptor == self._parent:
                        orphaned = True
                        self._poll.unregister(self._parent)
                    elif descriptor in self._children:
                        self._ended(descriptor)
                    elif descriptor in self._clients:
                        self._said(descriptor)
        finally:
            for pid, _ in self._children.values():
                _kill(pid, signal.SIGKILL)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        request = receive(client)
        if request is None:
            client.close()
            return
        (program, arguments, folder, environment), streams = request
        pid = os.fork()
        if pid == 0:
            self._listener.close()
            client.close()
            for _, other in self._children.values():
                other.close()
            child(program, arguments, folder, environment, streams)
        for stream in streams:
            os.close(stream)
        descriptor = os.pidfd_open(pid)
        self._children[descriptor] = pid, client
        self._clients[client.fileno()] = descriptor
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(client, select.POLLIN)

    def _said(self, descriptor: int) -> None:
        """A client passes a signal on, or is gone: then its fork is of no use to anybody."""
        child = self._clients[descriptor]
        pid, client = self._children[child]
        try:
            numbers = client.recv(16)
        except OSError:
            numbers = b""
        for number in numbers or [signal.SIGKILL]:
            _kill(pid, number)
        if not numbers:
            self._poll.unregister(descriptor)
            del self._clients[descriptor]

    def _ended(self, descriptor: int) -> None:
        pid, client = self._children.pop(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it has started and left behind
        self._poll.unregister(descriptor)
        os.close(descriptor)
        if self._clients.pop(client.fileno(), None) is not None:
            self._poll.unregister(client)
        with contextlib.suppress(OSError):
            client.sendall(f"{code}\n".encode())
        client.close()


def receive(client: socket.socket) -> tuple[Any, list[int]] | None:
    """A request and the client's standard streams; None where the client only looked or broke off."""
    descriptors = array.array("i")
    try:
        head, ancillary, _, _ = client.recvmsg(LENGTH, socket.CMSG_SPACE(3 * descriptors.itemsize))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        body = b""
        while len(head) == LENGTH and len(body) < int.from_bytes(head, "big"):
            part = client.recv(1 << 16)
            if not part:
                break
            body += part
        if len(descriptors) == 3 and body:
            return json.loads(body), list(descriptors)
    except (OSError, ValueError):
        pass
    for descriptor in descriptors:
        os.close(descriptor)
    return None


def child(program: str, arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """In the fork: be that program, in that folder, with that environment and those streams; never returns."""
    code = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            signal.signal(number, handler)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [program, *arguments]
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        random.seed()
        import numpy as np

        np.random.seed()
        if program == "dvc":
            from dvc.cli import main as dvc

            code = dvc(arguments)
        else:
            from ream.commands.cli import main as ream

            ream()
            code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - whatever it is, the fork must not go on as the server
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _kill(pid: int, number: int) -> None:
    """Signal a fork and what it has started; the fork alone where it has no group of its own yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
