"""A Prefect server for a module's tests, and the flow as a person runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graphs import ROOT, environment


def flow_environment(server=None):
    """The environment of `python -m flows` in a folder that is not this repository."""
    result = environment() | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "300"}
    for name in [name for name in result if name.startswith("PREFECT_")]:
        del result[name]
    return result | ({"PREFECT_API_URL": server.api} if server is not None else {})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all flows of a module, because starting one takes seven seconds."""
    from flows.server import Server

    home = tmp_path_factory.mktemp("server")
    (home / ".prefect").mkdir()
    before = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(home / ".prefect")
    try:
        with Server(home, light=True) as server:
            server.ready()
            yield server
    finally:
        os.environ.pop("PREFECT_HOME")
        if before is not None:
            os.environ["PREFECT_HOME"] = before


@pytest.fixture
def flow(server):
    """Runs `python -m flows run` in a folder: exit code and output."""

    def go(folder: Path, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "flows", "run", *arguments]
        result = subprocess.run(
            command, cwd=folder, env=flow_environment(server), capture_output=True, text=True, check=False
        )
        return result.returncode, result.stdout + result.stderr

    return go


def ran_by_flow(output: str) -> set[str]:
    """The stages that the flow ran in processes, without `names`, which runs after any change of a name."""
    return set(re.findall(r"- Running stage '([^']+)'", output)) - {"names"}


def states(output: str) -> dict[str, str]:
    """The last states of task runs by name, except those that were Cached from the start."""
    return dict(re.findall(r"Task run '([^']+)' - Finished in state (\w+)\(", output))
