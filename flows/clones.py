"""A stage in another clone of the repository: what it needs comes from a DVC remote, and what it makes goes there."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.child import Say, StageError, Tell, reproduce
from flows.graph import Stage
from flows.settings import repository
from ream.errors import UserError
from ream.files import locked, replacing

TRAVELS = ("params.yaml", "dvc.lock")  # these come with the stage; all else is as committed


@dataclass(frozen=True)
class Snapshot:
    """What a clone must agree on before it runs a stage: the commit, and the files that change between commits."""

    commit: str
    params: str
    lock: str


def snapshot(root: Path) -> Snapshot:
    """Of the clone that the flow runs in.

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
    )


def check_remote(root: Path) -> None:
    """Refuse a repository without a default DVC remote.

    Raises:
        UserError: says how to add one.
    """
    from flows.graph import opened

    with opened(root) as repo:
        if not repo.config["core"].get("remote"):
            raise UserError(
                "clones exchange results through DVC's default remote and there is none; add one that all of them "
                "reach: dvc remote add --default NAME URL"
            )


def reproduce_in_clone(stage: Stage, given: Snapshot, environment: Mapping[str, str], say: Say, tell: Tell) -> str:
    """Run a stage in this process's own clone.

    Args:
        stage: to run. given: of the flow's clone.
        environment, say, tell: as `reproduce`.

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
        if stage.needs:
            _dvc(root, stage, "pull", "--quiet", *stage.needs)
        _dvc(root, stage, "pull", "--quiet", "--allow-missing", stage.name)
        reproduce(stage.name, root, environment, say, tell)
        _dvc(root, stage, "push", "--quiet", stage.name)
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

    from flows.graph import opened

    with opened(root) as repo, repo.lock, modify_yaml(root / "dvc.lock") as whole:
        whole.setdefault("schema", "2.0")
        whole.setdefault("stages", {})[name] = yaml.safe_load(entry)


def pull(root: Path, names: list[str]) -> None:
    """Bring the outputs of stages here.

    Raises:
        UserError: the remote lacks some of them.
    """
    result = _run(root, [sys.executable, "-m", "dvc", "pull", "--quiet", *names])
    if result.returncode != 0:
        raise UserError(f"results can't be pulled from the DVC remote: {_last_line(result)}")


def _dvc(root: Path, stage: Stage, *arguments: str) -> None:
    result = _run(root, [sys.executable, "-m", "dvc", *arguments])
    if result.returncode != 0:
        raise StageError(f"stage {stage.name}: dvc {arguments[0]}: {_last_line(result)}", again=False)


def _git(root: Path, *arguments: str) -> str:
    result = _run(root, ["git", *arguments])
    if result.returncode != 0:
        raise UserError(f"git {arguments[0]} in {root}: {_last_line(result)}; run this in a git clone")
    return result.stdout


def _run(root: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def _last_line(result: "subprocess.CompletedProcess[str]") -> str:
    lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {result.returncode}"
