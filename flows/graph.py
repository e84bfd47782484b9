"""The graph of dvc.yaml, read through DVC: stages in the order of `dvc repro`, and what each needs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ream.errors import UserError, unknown

if TYPE_CHECKING:
    from dvc.repo import Repo

MODEL_STAGES = frozenset({"statistics", "sequential", "evaluate", "rank", "search"})
DEFINED_BY = ("dvc.yaml", "params.yaml")  # the files that define the graph
Contents = tuple[bytes | None, ...]
_LAST: "dict[Path, tuple[Contents, dict[str, Stage]]]" = {}  # the graph that was read last


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

    What was read last is kept for as long as dvc.yaml and params.yaml stay the same: reading takes a second.

    Raises:
        UserError: root is not a DVC repository, or dvc.yaml or dvc.lock is invalid.
    """
    if root not in _LAST or _LAST[root][0] != contents(root, DEFINED_BY):
        with opened(root) as repo:
            read_opened(root, repo)
    return dict(_LAST[root][1])


def contents(root: Path, names: Sequence[str]) -> Contents:
    """The bytes of some files of a folder; None for those that are not there."""
    return tuple(path.read_bytes() if (path := root / name).exists() else None for name in names)


def read_opened(root: Path, repo: "Repo") -> dict[str, Stage]:
    """All stages of an opened repository, in running order; `read_graph` then has them, too."""
    import networkx as nx

    defined = contents(root, DEFINED_BY)
    graph = repo.index.graph  # edges lead from a stage to the stages that it needs
    stages = {
        stage.name: Stage(
            name=stage.name,
            command=str(stage.cmd),
            needs=tuple(sorted(needed.name for needed in graph.successors(stage))),
            outputs=tuple(out.def_path for out in stage.outs),
            kept_by_git=tuple(out.def_path for out in stage.outs if not out.use_cache),
        )
        for stage in nx.dfs_postorder_nodes(graph)
    }
    stages = {name: replace(stage, reads=_read_by(stage, stages)) for name, stage in stages.items()}
    _LAST.clear()
    _LAST[root] = defined, stages
    return stages


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
