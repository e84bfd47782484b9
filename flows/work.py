"""What a stage's process does: the commands of the stage, in the surroundings that DVC gives them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.child import Children, Log, OnProgress, StageError, run


@dataclass(frozen=True)
class Work:
    """What is left to do for a stage once DVC has prepared it (`flows.desk.Desk.begin`).

    Attributes:
        name: the stage.
        root: the repository.
        folder: the working directory of the commands.
        commands: shell commands, run one after the other; none if DVC had the outputs in its run cache.
        outputs: absolute paths of outputs that must not be there when the commands start.
        problem: why the stage cannot run; "" if it can.
    """

    name: str
    root: str
    folder: str
    commands: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    problem: str = ""


def carry_out(
    work: Work, environment: Mapping[str, str], log: Log, on_progress: OnProgress, children: Children
) -> None:
    """Run the commands of a stage as DVC does (`dvc.stage.run.cmd_run`); the other arguments are those of `run`.

    It may be called again after a command was killed.

    Raises:
        StageError: see `run`; or the stage cannot run.
    """
    from dvc.env import DVC_ROOT, DVC_STAGE
    from dvc.stage.run import _make_cmd, get_executable  # which shell, and that it reads none of its start-up files

    if work.problem:
        raise StageError(work.problem, again=False)
    for output in work.outputs:
        _remove(Path(output))
    log(f"Running stage '{work.name}':" if work.commands else f"DVC had the outputs of '{work.name}'; nothing runs")
    environment = {**environment, DVC_ROOT: work.root, DVC_STAGE: work.name}
    for command in work.commands:
        log(f"> {command}")
        shell = _make_cmd(get_executable(), command)
        run(work.name, shell, Path(work.folder), environment, log, on_progress, children)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
