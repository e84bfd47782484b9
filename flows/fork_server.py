"""The process of the imports: it imports what stages need, then forks for every request of a stage (`flows.warm`).

A fork is as good as a fresh interpreter: torch has run nothing before, so there are no threads and no CUDA context, and
global random states are seeded anew.
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
import sys
import traceback
from pathlib import Path
from typing import Any

from flows.source_files import Stamps, sources
from ream.search.helpers import PROGRAM

IDLE_SECONDS = 900.0  # without a stage, as on a Dask worker whose flow was killed: the next stage starts a new process
LENGTH = 8  # bytes that hold the length of a request
# Programs that are forks, and the module that is each.
MODULES = {"ream": "ream.commands.cli", "dvc": "dvc", PROGRAM: "ream.search.helpers"}
# What stages import; what only a few of them need comes last.
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
    "ream.stages.search",
    "ream.search.run",
    "optuna.samplers",
    "ream.analysis.figures.held_out_loss",
    "matplotlib.figure",
)


def serve(address: Path) -> None:
    """Import everything, then fork for every request.

    A fork runs the code that was imported. Once a source file of ream has changed, forks become the real program.

    Args:
        address: of the socket to listen at.
    """
    imported = sources()
    for module in PRELOADED:
        importlib.import_module(module)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)  # a client finds a socket that listens, or none
        Server(listener, sys.stdin.fileno(), imported).run(IDLE_SECONDS)


class Server:
    """Forks for requests, passes signals on, and tells each client how its fork ended."""

    def __init__(self, listener: socket.socket, parent: int, imported: Stamps) -> None:
        """Take over a socket.

        Args:
            listener: the socket at which clients ask.
            parent: file descriptor of a pipe that closes when the process that started this one ends.
            imported: the `sources` that this process has imported.
        """
        self._listener, self._parent, self._imported = listener, parent, imported
        self._children: dict[int, tuple[int, socket.socket]] = {}  # pidfd to (pid, client)
        self._clients: dict[int, int] = {}  # file descriptor of a client to pidfd
        self._poll = select.poll()

    def run(self, idle: float) -> None:
        """Serve until this process is terminated, or idle, or until its parent and then the last fork have ended.

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
        """Fork for a client."""
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
            child(program, arguments, folder, environment, streams, self._imported)
        for stream in streams:
            os.close(stream)
        descriptor = os.pidfd_open(pid)
        self._children[descriptor] = pid, client
        self._clients[client.fileno()] = descriptor
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(client, select.POLLIN)

    def _said(self, descriptor: int) -> None:
        """Pass a client's signals on to its fork; kill the fork of a client that is gone."""
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
        """Tell the client how its fork ended, and end what the fork has left behind."""
        pid, client = self._children.pop(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        if self._clients.pop(client.fileno(), None) is not None:
            self._poll.unregister(client)
        with contextlib.suppress(OSError):
            client.sendall(f"{code}\n".encode())
        client.close()


def receive(client: socket.socket) -> tuple[Any, list[int]] | None:
    """Read a request and the client's standard streams; None if the client sent nothing or broke off."""
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


def child(
    program: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    streams: list[int],
    imported: Stamps,
) -> None:
    """Run the program in a fork, with the folder, environment and streams of the client; never returns."""
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
        if program != "dvc" and sources() != imported:
            os.execv(sys.executable, [sys.executable, "-m", MODULES[program], *arguments])
        sys.argv = [program, *arguments]
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        random.seed()
        import numpy as np

        np.random.seed()
        if program == "dvc":
            from dvc.cli import main as dvc

            code = dvc(arguments)
        elif program == PROGRAM:
            from ream.search.helpers import main as helper

            code = helper()
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
    """Signal a fork and what it has started; only the fork while it has no process group yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    with contextlib.suppress(SystemExit):  # terminated
        serve(Path(sys.argv[1]))
    os._exit(0)  # to take the libraries apart would keep the flow waiting, and there is nothing to save
