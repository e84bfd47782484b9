"""The graph of dvc.yaml, read through DVC: stages in the order of `dvc repro`, what each needs, which are outdated."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.child import Log
from flows.waiting import locked_repo
from ream.errors import UserError, unknown

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

LOGGER = logging.getLogger(__name__)
MODEL_STAGES = frozenset({"statistics", "sequential", "evaluate", "rank", "search"})


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: its name in DVC, such as ``evaluate@balanced``.
        command: the shell command that it runs.
        needs: names of the stages whose outputs it reads.
        outputs: paths of its outputs, relative to the repository.
        kept_by_git: those of the outputs that are not in DVC's cache (``cache: false``).
        part_of: name of the stage that this is a shard of; None for a stage of dvc.yaml. DVC does not know shards.
        reads: names of the stages whose outputs a clone must have: those that it needs, and those that it reads through
            a file that says which.
    """

    name: str
    command: str
    needs: tuple[str, ...]
    outputs: tuple[str, ...]
    kept_by_git: tuple[str, ...] = ()
    part_of: str | None = None
    reads: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What the stage does: the X of `ream stage X`, or else its group."""
        before, found, after = self.command.partition(" stage ")
        return after.split()[0] if found and before.endswith("ream") else self.group

    @property
    def group(self) -> str:
        """The part of the name before "@", which all stages of a matrix share."""
        return self.name.partition("@")[0]

    @property
    def loads_model(self) -> bool:
        """Whether the stage holds a layer or all of the model in memory, so that only a few may run at once."""
        return self.kind in MODEL_STAGES


def read_graph(root: Path) -> dict[str, Stage]:
    """All stages of the repository, in the order in which `dvc repro` runs them.

    Raises:
        UserError: root is not a DVC repository, or dvc.yaml or dvc.lock is invalid.
    """
    return dict(_read_graph(root, tuple(_content(root / name) for name in ("dvc.yaml", "params.yaml"))))


def _content(path: Path) -> bytes | None:
    """A file's bytes; None where there is no file."""
    return path.read_bytes() if path.exists() else None


@lru_cache(maxsize=1)  # reading takes a second, and both the command line and the flow read
def _read_graph(root: Path, contents: tuple[bytes | None, ...]) -> dict[str, Stage]:
    """All stages in running order.

    Args:
        root: the repository.
        contents: the files that define the graph, so that the cache notices when they change.
    """
    import networkx as nx

    with opened(root) as repo:
        graph = repo.index.graph  # edges lead from a stage to the stages that it needs
        order = list(nx.dfs_postorder_nodes(graph))
        stages = {
            stage.name: Stage(
                name=stage.name,
                command=str(stage.cmd),
                needs=tuple(sorted(needed.name for needed in graph.successors(stage))),
                outputs=tuple(out.def_path for out in stage.outs),
                kept_by_git=tuple(out.def_path for out in stage.outs if not out.use_cache),
            )
            for stage in order
        }
    return {name: replace(stage, reads=_read_by(stage, stages)) for name, stage in stages.items()}


def _read_by(stage: Stage, stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """The stages whose outputs a stage reads. An alignment reads the statistics that its saliency names."""
    further = [
        second
        for need in stage.needs
        if stage.kind == "alignment" and stages[need].kind == "saliency"
        for second in stages[need].needs
        if stages[second].kind == "statistics"
    ]
    return tuple(dict.fromkeys([*stage.needs, *further]))


def select(stages: Mapping[str, Stage], targets: Sequence[str]) -> dict[str, Stage]:
    """The targets and every stage that they need, in running order; all stages if there are no targets.

    Args:
        stages: all stages by name, in running order.
        targets: names of stages (``evaluate@balanced-ream-16``), of matrices (``evaluate-sequential``), or of what
            stages do (``evaluate``, all of them).

    Raises:
        UserError: a target is unknown.
    """
    if not targets:
        return dict(stages)
    wanted: set[str] = set()
    for target in targets:
        pending = [name for name, stage in stages.items() if target in (name, stage.group, stage.kind)]
        if not pending:
            kinds = {kind for stage in stages.values() for kind in (stage.group, stage.kind)}
            raise unknown("target", target, stages if "@" in target else kinds, "dvc.yaml")
        while pending:
            name = pending.pop()
            if name not in wanted:
                wanted.add(name)
                pending += stages[name].needs
    return {name: stage for name, stage in stages.items() if name in wanted}


def with_shards(stages: Mapping[str, Stage], shards: int) -> dict[str, Stage]:
    """The stages with each ``statistics`` stage split into shards, which can run at once.

    The stage itself stays, needs its shards, and adds them up.

    Args:
        stages: by name, in running order.
        shards: shards of each source's statistics; 1 leaves the stages as they are.
    """
    if shards == 1:
        return dict(stages)
    sharded: dict[str, Stage] = {}
    for name, stage in stages.items():
        if stage.kind == "statistics":
            parts = [
                replace(
                    stage,
                    name=f"{name}-shard-{shard}-of-{shards}",
                    command=f"{stage.command} --shard {shard} --shards {shards}",
                    outputs=(),
                    part_of=name,
                )
                for shard in range(shards)
            ]
            sharded |= {part.name: part for part in parts}
            stage = replace(stage, needs=(*stage.needs, *(part.name for part in parts)))
        sharded[name] = stage
    return sharded


Reason = Literal["itself", "outputs", "needs", "busy"]


def outdated(root: Path, names: Sequence[str], log: Log = LOGGER.warning) -> dict[str, Reason]:
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
    from dvc.lock import LockError

    wanted, reasons = set(names), dict[str, Reason]()
    with opened(root) as repo, locked_repo(repo, log):
        for stage in repo.index.stages:
            if stage.name not in wanted:
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


@contextmanager
def opened(root: Path) -> "Iterator[Repo]":
    """Open the repository with DVC's Python API for the length of the block.

    Raises:
        UserError: root is not a DVC repository, or DVC cannot read it.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError

    try:
        with open_repo(root) as repo:
            yield repo
    except NotDvcRepoError:
        raise UserError(f"{root} is not a DVC repository; run this in the folder that has dvc.yaml") from None
    except DvcException as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise UserError(f"DVC can't read the graph: {reason}; correct the file (`dvc status` tells more)") from None


def open_repo(root: Path) -> "Repo":
    """The repository in DVC's Python API, without its messages and progress bars, which are meant for a terminal."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    return Repo(str(root))
