"""Further processes that share a search's trials and final text on this machine; they end with the one that began it.

A helper reads what it is to do from a line of JSON on its stdin, which the process that started it keeps open: it ends
at the end of its stdin, however that comes about.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ream.errors import UserError
from ream.machine.parent import end_with_parent
from ream.machine.scratch import scratch
from ream.machine.sharing import FORKS
from ream.params import Params, parse_params
from ream.workspace.layout import Workspace

STOP_SECONDS = 10.0
PROGRAM = "ream-search-helper"  # in the folder of forks


@contextmanager
def helping(params: Params, workspace: Workspace, method: str, experts: int, code: str, state: Path) -> Iterator[None]:
    """Let ``search.workers`` − 1 helpers take trials while the block runs.

    They are told to end when it has ended. A helper that fails leaves its trials to the others.

    Args:
        params: all settings.
        workspace: of the graph or the command.
        method: name of the method.
        experts: K.
        code: digest of the code that runs.
        state: folder of the search's state.
    """
    task = {
        "params": params.model_dump(mode="json"), "root": str(workspace.root), "method": method, "experts": experts,
        "code": code, "state": str(state),
    }  # fmt: skip
    line = json.dumps(task) + "\n"
    helpers = [subprocess.Popen(_program(), stdin=subprocess.PIPE, text=True) for _ in range(params.search.workers - 1)]
    try:
        for helper in helpers:
            assert helper.stdin is not None
            helper.stdin.write(line)
            helper.stdin.flush()
        yield
    finally:
        for helper in helpers:
            assert helper.stdin is not None
            helper.stdin.close()
        for helper in helpers:
            try:
                helper.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait()


def _program() -> list[str]:
    """The command of a helper: a fork that need not import anything, where the flow has them."""
    forks = os.environ.get(FORKS)
    return [sys.executable, "-m", "ream.search.helpers"] if forks is None else [str(Path(forks) / PROGRAM)]


def shared_threads(params: Params) -> Params:
    """The settings with this process's share of all cores, where several processes search and no number is set."""
    if params.search.workers == 1 or params.compute.threads != "auto":
        return params
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // params.search.workers)
    return params.model_copy(update={"compute": params.compute.model_copy(update={"threads": threads})})


def main() -> int:
    """Take trials until there is none left, then a share of the final text; an error is a line on stderr."""
    task = json.loads(sys.stdin.readline())
    end_with_parent()
    from ream.search.session import Asked, Session

    try:
        params, workspace = parse_params(task["params"], "the settings of the search"), Workspace(Path(task["root"]))
        with scratch(workspace.scratch) as folder:
            asked = Asked(task["method"], task["experts"], task["code"], Path(task["state"]), folder)
            Session(params, workspace, asked).help()
    except UserError as error:
        print(f"a helper of the search ended: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
