"""The one object that every stage is called with beside the settings and the workspace."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ream.walk.ranks import Ranks


@dataclass(frozen=True)
class StageOptions:
    """What a stage works on, by the names in params.yaml, and how it runs.

    `ream.commands.stage_entries.STAGES` lists the fields that each stage reads from the command line; the others stay
    empty.

    Attributes:
        source: a calibration source.
        mix: a calibration mix; empty for the evaluation of the original.
        method: a method.
        experts: K, the number of experts kept in every layer.
        export: an entry of the section exports.
        shard: index, from 0, of the part of a source's micro-batches to walk; None for all of them.
        shards: the number of such parts.
        local: an entry of the section local.
        worker: number of a process that takes trials of a search which another one leads; None for any other.
        code: digest of the code that the stage can execute; unfinished work of other code is not continued.
        discard_stale: whether a stage discards the finished layers of an interrupted run that had other settings;
            otherwise it raises a UserError.
        keep_state: whether finished layers stay on disk, so that the stage can run again without computing them.
        ranks: the processes that torchrun started, of which this is one; None for a process that runs alone.
    """

    source: str = ""
    mix: str = ""
    method: str = ""
    experts: int = 0
    export: str = ""
    shard: int | None = None
    shards: int | None = None
    local: str = ""
    worker: int | None = None
    code: str = ""
    discard_stale: bool = True
    keep_state: bool = False
    ranks: "Ranks | None" = None

    @property
    def cell(self) -> tuple[str, str, int]:
        """Mix, method and number of experts: the names of a recipe."""
        return self.mix, self.method, self.experts
