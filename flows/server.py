"""Prefect's server as a child process on the loopback address, its database and log under .prefect/."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from flows.settings import HOST
from ream.errors import UserError

START_SECONDS = 180.0
APPLICATION = "prefect.server.api.server:create_app"
SERVICE = "PREFECT_SERVER_SERVICES_{}_ENABLED"
NOT_NEEDED = ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "TRIGGERS", "EVENT_PERSISTER")


class Server:
    """A server that starts while its user does other things, and ends with the ``with`` block.

    It is the application that `prefect server start` runs, without that command's own start (2 s), and not the server
    that Prefect's client would start by itself: that one begins only when it is first needed, and it has no UI.
    """

    def __init__(self, root: Path, port: int | None = None, light: bool = False) -> None:
        """Start it.

        Args:
            root: of the repository. port: on the loopback address; None for any that is free.
            light: without the services that only schedules, automations and the feed of events need.

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
        command += ["--log-level", "warning", "--lifespan", "on", "--timeout-keep-alive", "5"]
        with open(self.log, "a", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "PREFECT_API_URL": self.api,
                    "PREFECT_UI_API_URL": self.api,
                    **(dict.fromkeys(map(SERVICE.format, NOT_NEEDED), "false") if light else {}),
                },
                start_new_session=True,
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server."""
        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(seconds)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def ready(self) -> None:
        """Wait until it answers.

        Raises:
            UserError: it does not start.
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
            raise UserError(f"Prefect's server did not start; {self.log} says why")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
