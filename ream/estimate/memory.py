"""How much memory and disk a compression takes, part by part, at the moment that takes most.

The parts follow what the walk does (`walk`, `one_shot`, `sequential`, `decoder`): one decoder layer is in memory, in
the dtype of the computation; a sequential walk has that layer's compressed experts beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream.estimate.disk import disk_bytes
from ream.estimate.pieces import pieces_of
from ream.estimate.refit_cost import choice_bytes, fit_bytes, refit_bytes
from ream.estimate.streams import known_bytes
from ream.estimate.work import Work
from ream.machine.memory import LIBRARIES_BYTES
from ream.models.family.architecture import Architecture
from ream.models.inspection.inventory import Inventory

CUDA_BYTES = 2_500_000_000  # what torch's CUDA libraries take on the host, beside LIBRARIES_BYTES


@dataclass(frozen=True)
class Needs:
    """What a compression needs, in bytes.

    Attributes:
        host: part to bytes, of what exists at the same time.
        device: the same on the GPU; empty where the host computes.
        walk_disk: on the disk of the output, while the model is walked (hidden states, statistics).
        output_disk: on it, while the output is written, whose size it includes.
    """

    host: dict[str, int]
    device: dict[str, int]
    walk_disk: int
    output_disk: int

    @property
    def disk(self) -> int:
        """On the disk of the output, while the compression runs."""
        return max(self.walk_disk, self.output_disk)


def needs_of(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> Needs:
    """The memory and disk that a compression needs.

    Args:
        parts: sizes of the model's parts.
        architecture: of the model.
        numbers: config.json, the text model's part.
        work: what is to be done.
    """
    pieces = pieces_of(parts, architecture, numbers, work)
    on_gpu = work.device.type != "cpu"
    one_after_the_other = {
        "micro-batch": pieces.batch,
        "alignment": pieces.alignment + (0 if on_gpu else pieces.projection) if work.sequential else 0,
        "refit": refit_bytes(architecture, work),
        "fit of all projections": fit_bytes(architecture, work),
        "choice of neurons": choice_bytes(architecture, work),
    }
    largest = max(one_after_the_other, key=lambda name: one_after_the_other[name])
    computing = {
        "one layer": pieces.layer,
        largest: one_after_the_other[largest],
        "sums and probes": pieces.sums + pieces.probes,
        "routed outputs": known_bytes(architecture, work),
    }
    walk = {
        "libraries": LIBRARIES_BYTES + (CUDA_BYTES if on_gpu else 0),
        "hidden states": pieces.streams,
        "reading and merging": max(pieces.reading, pieces.merging if work.sequential else 0) + pieces.table,
    }
    if on_gpu:
        walk |= {"one layer's experts": pieces.stacks, "sums and probes": pieces.sums + pieces.probes}
        walk["projection of weights"] = pieces.projection if work.sequential else 0
    else:
        walk |= computing
    before = {"libraries": walk["libraries"], "hidden states": pieces.streams, "embedding": pieces.embedding}
    after = {
        "libraries": walk["libraries"],
        "alignment": 0 if on_gpu else pieces.alignment,
        "projection of weights": pieces.projection,
        "merging": pieces.merging,
        "writing": pieces.writing,
    }
    host = max((walk, before, after), key=lambda moment: sum(moment.values()))
    on_device = {name: size for name, size in computing.items() if name != "routed outputs"}
    return Needs(host, on_device if on_gpu else {}, *disk_bytes(parts, architecture, work))
