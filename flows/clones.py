"""A stage in another clone of the repository: what it needs comes from a DVC remote, and what it makes goes there."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.child import Children, Say, StageError, Tell, program, reproduce, run
from flows.graph import Reason, Stage, opened, outdated
from flows.settings import repository
from ream.errors import UserError
from ream.machine.files import locked, replacing

TRAVELS = ("params.yaml", "dvc.lock")  # these come with the stage; all else is as committed


@dataclass(frozen=True)
class Snapshot:
    """What a clone must agree on before it runs a stage: the commit, and the files that change between commits.

    Attributes:
        commit: its digest.
        params, lock: contents of params.yaml and dvc.lock.
        kept: whether the remote has what the stage has made before, so that DVC may find that it need not run.
    """

    commit: str
    params: str
    lock: str
    kept: bool = False


def snapshot(root: Path, kept: bool = False) -> Snapshot:
    """Of the clone that the flow runs in, for a stage whose outputs the remote has (``kept``) or not.

    Raises:
        UserError: tracked files differ from the commit, so that other clones would run other code.
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
        kept=kept,
    )


def check_remote(root: Path) -> None:
    """Refuse a repository without a default DVC remote.

    Raises:
        UserError: says how to add one.
    """
    with opened(root) as repo:
        if not repo.config["core"].get("remote"):
            raise UserError(
                "clones exchange results through DVC's default remote and there is none; add one that all of them "
                "reach: dvc remote add --default NAME URL"
            )


def share(root: Path, names: Sequence[str], found: dict[str, Reason]) -> dict[str, Reason]:
    """Before stages run in clones: fetch outputs that are missing here, and hand on what is here.

    Args:
        root: of the flow's clone. names: of the stages of this run.
        found: those of them that are out of date, as `outdated` says.

    Returns:
        Those that still are. The remote has the outputs of all others and of those whose reason is "needs".

    Raises:
        UserError: nothing can be put on the remote.
    """
    lost = [name for name, reason in found.items() if reason == "outputs"]
    if lost:
        _dvc(root, "pull", "--force", "--allow-missing", *lost)
        found = outdated(root, names)  # what the remote lacks is made again
    kept = [name for name in names if found.get(name, "needs") == "needs"]
    if found and kept:
        result = _dvc(root, "push", *kept)
        if result.returncode != 0:
            raise UserError(f"results can't be pushed to the DVC remote: {_reason(result)}")
    return found


def reproduce_in_clone(
    stage: Stage, given: Snapshot, environment: Mapping[str, str], say: Say, tell: Tell, children: Children
) -> str:
    """Run a stage in this process's own clone.

    Args:
        stage: to run. given: of the flow's clone.
        environment, say, tell, children: as `reproduce`.

    Returns:
        The stage's entry of dvc.lock, as YAML.

    Raises:
        StageError: the clone is at another commit or changed, something can't be had from the remote or put there, or
            the stage failed.
    """
    root = repository()
    with locked(root / ".dvc" / "tmp" / "ream-worker"):
        check_clone(root, given.commit)
        for name, text in (("params.yaml", given.params), ("dvc.lock", given.lock)):
            if text:
                with replacing(root / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        dvc = program("dvc", environment)
        pulled = [*stage.needs, stage.name] if given.kept else stage.needs
        if pulled:  # by force: what an interrupted stage has left in this clone is in the way
            run(stage.name, [*dvc, "pull", "--force", *pulled], root, environment, say, tell, children)
        reproduce(stage.name, root, environment, say, tell, children)
        run(stage.name, [*dvc, "push", stage.name], root, environment, say, tell, children)
        return lock_entry(root, stage.name)


def check_clone(root: Path, commit: str) -> None:
    """Refuse a clone that would run other code.

    Raises:
        StageError: says what differs.
    """
    here, changed = _git(root, "rev-parse", "HEAD").strip(), uncommitted(root)
    if here != commit:
        raise StageError(
            f"the clone {root} is at commit {here[:12]}, the flow at {commit[:12]}; pull there", again=False
        )
    if changed:
        raise StageError(
            f"the clone {root} has uncommitted changes in {', '.join(changed)}; commit or stash", again=False
        )


def uncommitted(root: Path) -> list[str]:
    """Tracked files that differ from the commit, but for those that travel with a stage."""
    lines = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    return [line[3:] for line in lines if line[3:] not in TRAVELS]


def lock_entry(root: Path, name: str) -> str:
    """A stage's entry of dvc.lock, as YAML."""
    import yaml

    whole = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))
    return yaml.safe_dump(whole["stages"][name], sort_keys=False)


def merge_entry(root: Path, name: str, entry: str) -> None:
    """Put a stage's entry into dvc.lock, as DVC would have done after running it."""
    import yaml
    from dvc.utils.serialize import modify_yaml

    with opened(root) as repo, repo.lock, modify_yaml(root / "dvc.lock") as whole:
        whole.setdefault("schema", "2.0")
        whole.setdefault("stages", {})[name] = yaml.safe_load(entry)


def pull(root: Path, names: list[str]) -> None:
    """Bring the outputs of stages here.

    Raises:
        UserError: the remote lacks some of them.
    """
    result = _dvc(root, "pull", "--force", *names)
    if result.returncode != 0:
        raise UserError(f"results can't be pulled from the DVC remote: {_reason(result)}")


def _dvc(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return _run(root, [sys.executable, "-m", "dvc", *arguments])


def _git(root: Path, *arguments: str) -> str:
    result = _run(root, ["git", *arguments])
    if result.returncode != 0:
        raise UserError(f"git {arguments[0]} in {root}: {_reason(result)}; run this in a git clone")
    return result.stdout


def _run(root: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def _reason(result: "subprocess.CompletedProcess[str]") -> str:
    """Why a command has failed: the line that begins as errors do, else its last."""
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [f"exit status {result.returncode}"])[-1]
