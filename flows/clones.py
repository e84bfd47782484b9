"""Running a stage in another clone of the repository; its inputs come from a DVC remote and its outputs go there."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.child import LOCKED, BusyError, Children, Log, OnProgress, StageError, dvc_program, run
from flows.graph import Stage, opened
from flows.outdated import Reason, outdated
from flows.reproduced import Reproduced, left_by
from flows.settings import repository
from flows.waiting import locked_repo, until_free
from ream.errors import UserError
from ream.machine.files import locked, replacing

# Sent with the stage or back from it; all other tracked files must be as committed.
TRAVELS = ("params.yaml", "dvc.lock", "metrics")


@dataclass(frozen=True)
class Snapshot:
    """The state of the flow's clone, which a worker's clone must match before it runs a stage.

    Attributes:
        commit: hash of the commit.
        params: contents of params.yaml.
        lock: contents of dvc.lock; "" if there is none.
        on_remote: whether the remote has the stage's earlier outputs; with them, DVC may find that it need not run.
    """

    commit: str
    params: str
    lock: str
    on_remote: bool = False


def take_snapshot(root: Path, on_remote: bool = False) -> Snapshot:
    """The state of the clone that the flow runs in.

    Args:
        root: the clone.
        on_remote: whether the remote has the earlier outputs of the stage that the snapshot is for.

    Raises:
        UserError: tracked files differ from the commit, so that other clones would run different code.
    """
    changed = uncommitted(root)
    if changed:
        raise UserError(
            f"uncommitted changes in {', '.join(changed)}: the workers' clones run what is committed; commit or stash"
        )
    lock = root / "dvc.lock"
    return Snapshot(
        commit=_git(root, "rev-parse", "HEAD").strip(),
        params=(root / "params.yaml").read_text(encoding="utf-8"),
        lock=lock.read_text(encoding="utf-8") if lock.exists() else "",
        on_remote=on_remote,
    )


def check_remote(root: Path) -> None:
    """Refuse a repository without a default DVC remote.

    Raises:
        UserError: there is none; the message says how to add one.
    """
    with opened(root) as repo:
        if not repo.config["core"].get("remote"):
            raise UserError(
                "clones exchange results through DVC's default remote, but there is none; add one that all clones can "
                "reach: dvc remote add --default NAME URL"
            )


def sync_with_remote(root: Path, names: Sequence[str], reasons: dict[str, Reason], log: Log) -> dict[str, Reason]:
    """Before stages run in clones: pull outputs that are missing here, and push outputs that are here.

    Args:
        root: the flow's clone.
        names: the stages of this run.
        reasons: the outdated ones among them and why, from `outdated`.
        log: told which process holds the repository while this one waits for it.

    Returns:
        The stages that are still outdated, and why. The remote then has the outputs of all other stages, and of those
        whose reason is "needs".

    Raises:
        UserError: outputs cannot be pushed to the remote.
    """
    missing = [name for name, reason in reasons.items() if reason == "outputs"]
    if missing:
        _dvc(root, log, "pull", "--force", "--allow-missing", *missing)
        reasons = outdated(root, names, log)  # stages whose outputs the remote lacks run again
    present = [name for name in names if reasons.get(name, "needs") == "needs"]
    if reasons and present:
        result = _dvc(root, log, "push", *present)
        if result.returncode != 0:
            raise UserError(f"results can't be pushed to the DVC remote: {_reason(result)}")
    return reasons


def reproduce_in_clone(
    stage: Stage,
    snapshot: Snapshot,
    environment: Mapping[str, str],
    log: Log,
    on_progress: OnProgress,
    children: Children,
) -> Reproduced:
    """Run a stage in this process's own clone.

    Args:
        stage: the stage.
        snapshot: the state of the flow's clone.
        environment: variables added to those of this process.
        log: called with every line of output.
        on_progress: called with progress events.
        children: the child processes of the flow run.

    Raises:
        StageError: the clone is at another commit or has changes, files cannot be pulled from the remote or pushed to
            it, or the stage failed.
    """
    root = repository()
    with locked(root / ".dvc" / "tmp" / "ream-worker"):
        check_clone(root, snapshot.commit)
        for name, text in (("params.yaml", snapshot.params), ("dvc.lock", snapshot.lock)):
            if text:
                with replacing(root / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        dvc = dvc_program(environment)

        def go(*arguments: str) -> None:
            attempt = partial(run, stage.name, [*dvc, *arguments], root, environment, log, on_progress, children)
            until_free(attempt, root, log, children.stopped)

        wanted = [*stage.reads, stage.name] if snapshot.on_remote else stage.reads
        if wanted:  # --force: files of an interrupted stage may be in the way
            go("pull", "--force", *wanted)
        with opened(root) as repo, locked_repo(repo, log, children.stopped):
            pass  # the log says what is waited for; the option waits silently, above all after the stage's command
        go("--wait-for-lock", "repro", "--single-item", stage.name)
        go("push", stage.name)
        return left_by(stage, root)


def check_clone(root: Path, commit: str) -> None:
    """Refuse a clone that would run different code.

    Args:
        root: the clone.
        commit: hash of the commit that it must be at.

    Raises:
        StageError: the clone is at another commit or has uncommitted changes; the message says which.
    """
    head, changed = _git(root, "rev-parse", "HEAD").strip(), uncommitted(root)
    if head != commit:
        raise StageError(
            f"the clone {root} is at commit {head[:12]}, the flow is at {commit[:12]}; pull there", again=False
        )
    if changed:
        raise StageError(
            f"the clone {root} has uncommitted changes in {', '.join(changed)}; commit or stash", again=False
        )


def uncommitted(root: Path) -> list[str]:
    """Tracked files that differ from the commit, except those that are sent with a stage."""
    others = [f":(exclude){path}" for path in TRAVELS]
    lines = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *others).splitlines()
    return [line[3:] for line in lines]


def pull(root: Path, names: list[str], log: Log) -> None:
    """Pull the outputs of stages from the remote.

    Args:
        root: the repository.
        names: the stages.
        log: told which process holds the repository while this one waits for it.

    Raises:
        UserError: the remote lacks some of them.
    """
    result = _dvc(root, log, "pull", "--force", *names)
    if result.returncode != 0:
        raise UserError(f"results can't be pulled from the DVC remote: {_reason(result)}")


def _dvc(root: Path, log: Log, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The result of a DVC command, whether it succeeded or not, once the repository is free."""

    def attempt() -> "subprocess.CompletedProcess[str]":
        result = _run(root, [sys.executable, "-m", "dvc", *arguments])
        if result.returncode != 0 and LOCKED.search(result.stderr):
            raise BusyError(result.stderr, again=False)
        return result

    return until_free(attempt, root, log)


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command.

    Raises:
        UserError: it failed.
    """
    result = _run(root, ["git", *arguments])
    if result.returncode != 0:
        raise UserError(f"git {arguments[0]} in {root}: {_reason(result)}; run this in a git clone")
    return result.stdout


def _run(root: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """The result of a command in a folder."""
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def _reason(result: "subprocess.CompletedProcess[str]") -> str:
    """Why a command failed: its last line that begins with "ERROR:", else its last line."""
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [f"exit status {result.returncode}"])[-1]
