"""The pipeline as a deployment on a local Prefect server, where it can be started and watched in a browser."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flows.server import Server

DEPLOYMENT = "pipeline"
AGAIN_SECONDS = 10.0


def serve(root: Path, port: int, say: Callable[[str], None]) -> None:
    """Run a server and serve the deployment until interrupted.

    Args:
        root: the repository.
        port: port of the server on the loopback address.
        say: called with the address once the deployment is ready, and when the server ends.

    Raises:
        UserError: the port is taken, or the server does not start.
    """
    with _terminated_as_interrupted(), Server(root, port) as server:
        os.environ["PREFECT_API_URL"] = server.api
        server.ready()
        from prefect.types.entrypoint import EntrypointType

        from flows.pipeline import pipeline

        say(f"{server.address}: the pipeline is at Deployments, ream/{DEPLOYMENT}; Ctrl-C stops the server")
        try:
            with _interrupted_until_it_ends():
                pipeline.serve(
                    name=DEPLOYMENT,
                    tags=["ream"],
                    entrypoint_type=EntrypointType.MODULE_PATH,
                    print_starting_message=False,
                    pause_on_shutdown=False,
                )
        except KeyboardInterrupt:
            say("the server stops")


@contextmanager
def _handled(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle a signal with a function until the block exits."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end this process and its server as Ctrl-C does, until the runner sets handlers of its own."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(signal.SIGTERM, interrupt):
        yield


@contextmanager
def _interrupted_until_it_ends() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt at once, and again every AGAIN_SECONDS until the block exits.

    asyncio's handler only cancels the runner's task. That was once not enough: after a flow run had ended, the runner
    did not end within a minute. asyncio does not replace a handler that is already set.
    """
    timers: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        timers.append(threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].daemon = True
        timers[-1].start()
        raise KeyboardInterrupt

    with _handled(signal.SIGINT, interrupt):
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
