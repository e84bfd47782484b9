"""Prefect's server as a child process on the loopback address, with its database and log in .prefect/."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from flows.guard import PORT_VARIABLE, origins
from flows.settings import HOST
from ream.errors import UserError

START_SECONDS = 180.0
APPLICATION = "flows.guard:create_app"
ABOVE = Path(__file__).parent.parent  # the folder from which `flows` is imported
SERVICE = "PREFECT_SERVER_SERVICES_{}_ENABLED"
NOT_NEEDED = ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "TRIGGERS", "EVENT_PERSISTER")


class Server:
    """A server that starts in the background and is stopped when the ``with`` block exits.

    It ends when this process does, even if that is killed. It runs the same application as `prefect server start`,
    behind `flows.guard`, without that command's own start-up of 2 s. Prefect's client would start a server by itself,
    too, but only when it is first needed, and without a UI.
    """

    def __init__(self, root: Path, port: int | None = None, light: bool = False) -> None:
        """Start the server; `ready` waits until it answers.

        Args:
            root: the repository.
            port: port on the loopback address; None for any free one.
            light: whether to leave out services that only schedules, automations and the event feed need.

        Raises:
            UserError: the port is taken.
        """
        if port is not None and not _free(port):
            raise UserError(f"port {port} of {HOST} is taken; choose another: make ui PORT={port + 1}")
        self.port = _any_port() if port is None else port
        self.address = f"http://{HOST}:{self.port}"
        self.api = f"{self.address}/api"
        self.log = root / ".prefect" / "server.log"
        command = [sys.executable, "-m", "uvicorn", "--factory", APPLICATION, "--host", HOST, "--port", str(self.port)]
        command += ["--app-dir", str(ABOVE), "--log-level", "warning", "--lifespan", "on", "--timeout-keep-alive", "5"]
        with open(self.log, "a", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # nothing is written to it: it is closed when this process ends
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "PREFECT_API_URL": self.api,
                    "PREFECT_UI_API_URL": self.api,
                    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins(self.port)),
                    PORT_VARIABLE: str(self.port),
                    **(dict.fromkeys(map(SERVICE.format, NOT_NEEDED), "false") if light else {}),
                },
                start_new_session=True,
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Terminate the server; kill it if it has not ended after ten seconds."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(seconds)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def ready(self) -> None:
        """Wait until the server answers.

        Raises:
            UserError: it has ended, or does not answer within START_SECONDS.
        """
        import httpx

        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                httpx.get(f"{self.api}/health", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        else:
            raise UserError(f"Prefect's server did not start; see {self.log} for the reason")


def _free(port: int) -> bool:
    """Whether a server can listen at a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
