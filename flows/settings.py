"""The surroundings of a flow: the repository, and Prefect's settings and server."""

import os
from pathlib import Path

from ream.errors import UserError

REPOSITORY = "REAM_REPOSITORY"
HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # what a browser on this machine may call the server
PORT = 4200


def repository() -> Path:
    """The folder of dvc.yaml: searched from the environment variable REAM_REPOSITORY, else from the working directory,
    upwards.

    Raises:
        UserError: neither the start nor a folder above it has a dvc.yaml.
    """
    start = Path(os.environ.get(REPOSITORY, ".")).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").exists():
            return folder
    raise UserError(f"no dvc.yaml in {start} or above it; run this inside the repository")


def prepare(root: Path) -> None:
    """Set Prefect's settings for this process and its children, unless the environment already has them.

    The database lies in .prefect/, telemetry is off, and a task that waits for a slot asks every second. Prefect reads
    its settings when it is imported, so this must come first.

    Args:
        root: the repository.
    """
    home = root / ".prefect"
    for name, value in {
        REPOSITORY: str(root),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        "PREFECT_CLI_COLORS": "false",
    }.items():
        os.environ.setdefault(name, value)
    home.mkdir(exist_ok=True)


def check_server() -> None:
    """Refuse a server at PREFECT_API_URL that does not answer; without that variable there is nothing to check.

    Raises:
        UserError: the server does not answer; the message names its address.
    """
    import httpx

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        raise UserError(
            f"Prefect's server at {url} can't be reached ({error}); start it with `make ui`, or unset PREFECT_API_URL"
        ) from None
