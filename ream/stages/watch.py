"""Stage watch: what lies at a local path of the section local, so that DVC sees when it changes."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ream.errors import UserError, unknown
from ream.machine.files import file_digest, write_json
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the SHA-256 of the file at a local path, or of every file below it.

    Raises:
        UserError: there is no such entry, or nothing at its path.
    """
    name = options.local
    if name not in params.local:
        raise unknown("path", name, params.local, "params 'local'")
    root = Path(params.local[name])
    paths = sorted(files_below(root))
    if not paths:
        raise UserError(f"local.{name}: there is no file at {root}; correct the path or remove the entry")
    with Progress(len(paths), f"watch@{name}", "file", delay=QUIET_SECONDS) as progress, ThreadPoolExecutor() as pool:
        digests = {}
        for path, digest in zip(paths, pool.map(file_digest, paths), strict=True):
            digests[path.as_posix()] = digest
            progress.update()
    write_json(workspace.watched(name), digests)
    return f"{root}: {len(digests)} files"


def files_below(root: Path) -> Iterator[Path]:
    """The file at a path, or all files below it; those that a killed run has left half-written are not among them."""
    if root.is_file():
        yield root
    for folder, _, names in os.walk(root):
        paths = (Path(folder, name) for name in names if not (name.startswith(".") and name.endswith(".tmp")))
        yield from (path for path in paths if path.is_file())  # a pipe would be read for ever
