"""Folders for a run's temporary files. What a killed run leaves behind, the next one removes.

Each run holds a lock on its folder, which ends with the run however that ends. They do not lie in the system's
temporary directory: a checkpoint for vLLM is as large as the model, and that directory is often memory.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ream.errors import UserError
from ream.machine.files import locked


def without_workspace() -> Path:
    """The folder of scratch folders for commands that have no workspace: ream in the user's folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ream" / "scratch"


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder for this run, removed when the block exits.

    Args:
        parent: folder of the scratch folders of all runs; made where it is missing. Those of killed runs are removed.

    Raises:
        UserError: it cannot be made.
    """
    with ExitStack() as held:
        with locked(parent, wait=True):  # so nobody takes the folder for abandoned before it is locked
            _remove_abandoned(parent)
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
            held.enter_context(locked(folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now, the next run removes


def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders of killed runs, if there are any.

    Args:
        parent: folder of the scratch folders of all runs.
    """
    if any(parent.glob("run-*")):
        with locked(parent, wait=True):
            _remove_abandoned(parent)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders that no run holds; only a process that holds ``parent`` alone may."""
    for folder in parent.glob("run-*"):
        with suppress(UserError), locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
