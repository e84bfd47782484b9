"""The pipeline as a deployment on a Prefect server of this machine: to be started and watched in a browser."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flows.server import Server

DEPLOYMENT = "pipeline"


def serve(root: Path, port: int, say: Callable[[str], None]) -> None:
    """Run a server and serve the deployment until interrupted.

    Args:
        root: of the repository.
        port: of the server, on the loopback address.
        say: gets the address when all is ready.

    Raises:
        UserError: the port is taken, or the server does not start.
    """
    with _terminated_as_interrupted(), Server(root, port) as server:
        os.environ["PREFECT_API_URL"] = server.api
        server.ready()
        from prefect.flows import EntrypointType

        from flows.pipeline import pipeline

        say(f"{server.address}: the pipeline is at Deployments, ream/{DEPLOYMENT}; Ctrl-C ends the server")
        try:
            pipeline.serve(
                name=DEPLOYMENT,
                tags=["ream"],
                entrypoint_type=EntrypointType.MODULE_PATH,
                print_starting_message=False,
                pause_on_shutdown=False,
            )
        except KeyboardInterrupt:
            say("the server ends")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Until the runner has handlers of its own, SIGTERM ends this as Ctrl-C does, the server with it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
