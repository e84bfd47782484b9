"""Which stages DVC would run now, and why."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.child import Log
from flows.graph import DEFINED_BY, Contents, Stage, contents, opened, read_opened, select
from flows.waiting import locked_repo

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

LOGGER = logging.getLogger(__name__)
SEEN = (*DEFINED_BY, "dvc.lock")  # the files that decide on most reasons
Reason = Literal["itself", "outputs", "needs", "busy"]


@dataclass(frozen=True)
class _Found:
    """What `look_ahead` has found.

    Attributes:
        seen: contents of the files SEEN.
        names: the stages that were looked at.
        reasons: of the outdated ones.
    """

    seen: Contents
    names: frozenset[str]
    reasons: dict[str, Reason]


_FORESEEN: dict[Path, _Found] = {}  # by repository; not yet taken


def outdated(root: Path, names: Collection[str], log: Log = LOGGER.warning) -> dict[str, Reason]:
    """The stages that `dvc repro --single-item` would run now, and the reason for each.

    Args:
        root: the repository.
        names: the stages to look at.
        log: told which process holds the repository while this one waits for it.

    Returns:
        Name to reason: "itself" if the command or the params differ from dvc.lock; else "outputs" if outputs are
        missing or differ; else "needs" if only files that the stage reads differ. A stage whose reason is "itself" or
        "outputs" runs whatever the stages that it needs produce. "busy" if another process works on the stage's files,
        so that nobody can tell.

    Raises:
        UserError: see `read_graph`.
    """
    with opened(root) as repo, locked_repo(repo, log):
        return _reasons(repo, names)


def look_ahead(root: Path, targets: Sequence[str], log: Log = LOGGER.warning) -> dict[str, Reason]:
    """Read the graph and ask for the outdated stages among the targets and what they need, in one look.

    Each look takes a second or two, most of it the reading of dvc.lock. `read_graph` then has the graph, and the next
    `foreseen` the reasons.

    Args:
        root: the repository.
        targets: see `select`.
        log: see `outdated`.

    Returns:
        See `outdated`.

    Raises:
        UserError: see `read_graph` and `select`.
    """
    with opened(root) as repo, locked_repo(repo, log):
        names = frozenset(select(read_opened(root, repo), targets))
        seen = contents(root, SEEN)
        reasons = _reasons(repo, names)
    _FORESEEN.clear()
    _FORESEEN[root] = _Found(seen, names, reasons)
    return reasons


def foreseen(root: Path, stages: Mapping[str, Stage], log: Log = LOGGER.warning) -> dict[str, Reason]:
    """The outdated ones of some stages: as `look_ahead` has found if it looked at the same graph, or else asked now.

    What it has found is used once.

    Args:
        root: the repository.
        stages: by name; DVC does not know the shards among them.
        log: see `outdated`.
    """
    names = frozenset(name for name, stage in stages.items() if stage.part_of is None)
    found = _FORESEEN.pop(root, None)
    if found is not None and found.names == names and found.seen == contents(root, SEEN):
        return found.reasons
    return outdated(root, names, log)


def _reasons(repo: "Repo", names: Collection[str]) -> dict[str, Reason]:
    """See `outdated`; the repository is opened and locked."""
    from dvc.lock import LockError

    reasons = dict[str, Reason]()
    for stage in repo.index.stages:
        if stage.name not in names:
            continue
        try:
            reason = _reason(stage)
        except LockError:
            reason = "busy"
        if reason is not None:
            reasons[stage.name] = reason
    return reasons


def _reason(stage: "PipelineStage") -> Reason | None:
    """Why DVC would run a stage; None if it would not.

    Raises:
        LockError: another process works on the stage's files.
    """
    from dvc.dependency.param import ParamsDependency

    params = any(dep.status() for dep in stage.deps if isinstance(dep, ParamsDependency))
    if params or stage.changed_stage() or stage.always_changed:
        return "itself"
    if stage.changed_outs():
        return "outputs"
    return "needs" if stage.changed_deps() else None
