"""`python -m flows.quick_dvc …`: the `dvc` command, which replaces one entry of dvc.lock instead of the whole file.

After every stage DVC parses dvc.lock with a parser that keeps comments, and writes all of it, which takes seconds for
a graph of 130 stages. The file has the same bytes either way (`flows.lock_file`).
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.lock_file import write_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvc.dvcfile import Lockfile
    from dvc.stage import PipelineStage


def dump_stages(lock: "Lockfile", stages: "Sequence[PipelineStage]", **settings: Any) -> None:
    """Write the entries of stages, in the place of `dvc.dvcfile.Lockfile.dump_stages`.

    Args:
        lock: dvc.lock.
        stages: whose entries are written.
        settings: of `dvc.stage.serialize.to_lockfile`.
    """
    from dvc.stage.serialize import to_lockfile

    for stage in stages:
        write_entry(Path(lock.path), stage.name, to_lockfile(stage, **settings)[stage.name])
    lock.repo.scm_context.track_file(lock.relpath)


def main() -> int:
    """Run DVC with the arguments of this process; returns its exit status."""
    from dvc.cli import main as dvc
    from dvc.dvcfile import Lockfile

    Lockfile.dump_stages = dump_stages
    return int(dvc(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
