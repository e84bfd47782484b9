"""What a stage leaves in one clone for another, beside the outputs that travel through the DVC remote."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.child import Log
from flows.graph import Stage, opened
from flows.lock_file import write_entry
from flows.waiting import locked_repo
from ream.machine.files import replacing


@dataclass(frozen=True)
class Reproduced:
    """What a stage that ran in another clone has left there, beside the outputs that are on the remote.

    Attributes:
        entry: its entry of dvc.lock, as YAML.
        files: contents of the outputs that git keeps instead of DVC, by path in the repository.
    """

    entry: str
    files: dict[str, bytes]


def left_by(stage: Stage, root: Path) -> Reproduced:
    """What a stage that has just run has left in a clone."""
    from dvc.utils.serialize import dumps_yaml, load_yaml  # PyYAML takes 1e-05 for text

    paths = [root / path for path in stage.kept_by_git]
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return Reproduced(
        str(dumps_yaml(load_yaml(root / "dvc.lock")["stages"][stage.name])),
        {file.relative_to(root).as_posix(): file.read_bytes() for file in files if file.is_file()},
    )


def take_over(root: Path, stage: Stage, reproduced: Reproduced, log: Log) -> None:
    """Put what a stage has left in another clone into this one, as if DVC had run it here.

    Args:
        root: the repository.
        stage: the stage.
        reproduced: what it has left.
        log: told which process holds the repository while this one waits for it.
    """
    from dvc.utils.serialize import loads_yaml

    with opened(root) as repo, locked_repo(repo, log):
        for path in stage.kept_by_git:
            if (root / path).is_dir():
                shutil.rmtree(root / path)
        for name, content in reproduced.files.items():
            with replacing(root / name) as temporary:
                temporary.write_bytes(content)
        write_entry(root / "dvc.lock", stage.name, loads_yaml(reproduced.entry))
