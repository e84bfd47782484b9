"""Stages without start-up time: their `ream` and `dvc` are forks of one process that has imported the libraries.

A stage that loads torch, transformers and lm-eval spends six seconds on imports, with a small model more than on its
work. The `dvc` that workers with clones of their own run takes half a second to start. The flow puts a folder with its
own `ream` and `dvc` first in PATH; a search finds its helpers there, too (`ream.search.helpers`). They hand their
arguments, folder, environment and standard streams to the process of the imports (`flows.fork_server`), which forks,
and exit with the status of the fork. Where that process is not there (yet), the real programs run; stages that load the
model wait for it, because their own imports would take as long. The commands of dvc.yaml stay as they are. On the demo
this takes 23% off the wall time of `make flow` (benchmarks/RESULTS.md, "Starting"). `make repro` runs `dvc repro` in
the same way (`flows.warmed`).
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from flows.fork_server import LENGTH, MODULES
from ream.machine.sharing import FORKS

START_SECONDS = 60.0
END_SECONDS = 10.0
AWAIT = "REAM_AWAIT_IMPORTS"  # seconds that a program waits for the process, if that has been started
# The `ream` and `dvc` that the flow's stages find. They run isolated and without site-packages, and start in 20 ms.
CLIENT = """#!{python} -ISE
import array, json, os, signal, socket, sys, time
program = os.path.basename(sys.argv[0])
server = socket.socket(socket.AF_UNIX)
end = time.monotonic() + float(os.environ.pop({wait!r}, 0))
while True:
    try:
        server.connect({address!r})
        break
    except OSError:
        if time.monotonic() < end and os.path.exists({started!r}):
            time.sleep(0.05)
            continue
        open({wanted!r}, "w").close()
        os.execv({python!r}, [{python!r}, "-m", {modules!r}[program], *sys.argv[1:]])
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
    """The process of the imports, for as long as the ``with`` block lasts.

    Attributes:
        address: of the socket at which it takes requests; exists once it does.
        path: folder with the `ream` and `dvc` that ask it for a fork; comes first in the PATH of stages.
        wanted: exists once one of these has not found the process.
    """

    def __init__(self, environment: dict[str, str], at_once: bool = True) -> None:
        """Start the process; it takes requests when it has imported everything (`ready`).

        Args:
            environment: variables for the imports, beside those of this process. Libraries read some only once.
            at_once: start now; otherwise `start` does.
        """
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="ream-warm-")
        folder = Path(self._folder.name)
        self.address = folder / "socket"
        self.path = folder / "bin"
        self.path.mkdir()
        self.wanted = folder / "wanted"
        self._log = folder / "log"  # exists once the process has been started
        text = CLIENT.format(
            python=sys.executable, address=str(self.address), wanted=str(self.wanted), started=str(self._log),
            length=LENGTH, wait=AWAIT, modules=MODULES,
        )  # fmt: skip
        for program in MODULES:
            (self.path / program).write_text(text)
            (self.path / program).chmod(0o755)
        if at_once:
            self.start()

    def start(self) -> None:
        """Start the process unless it has been started."""
        if self._process is not None:
            return
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.fork_server", str(self.address)],
                stdin=subprocess.PIPE,  # nothing is written to it: it is closed when this process ends
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def __enter__(self) -> "Warm":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and all its forks; what is left after END_SECONDS is killed."""
        if self._process is None:
            self._folder.cleanup()
            return
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
        """Whether the process runs; it ends by itself after IDLE_SECONDS without a fork."""
        return self._process is not None and self._process.poll() is None

    def environment(self, heavy: bool = False) -> dict[str, str]:
        """The variables to set for the process of a stage.

        Args:
            heavy: whether its own imports would take about as long as those of the process.
        """
        wait = {AWAIT: str(START_SECONDS)} if heavy else {}
        return {"PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}", FORKS: str(self.path)} | wait

    def ready(self, seconds: float = START_SECONDS) -> bool:
        """Wait until the process takes requests; returns whether it does within that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive():
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(self.address))
                return True
            time.sleep(0.1)
        return False
