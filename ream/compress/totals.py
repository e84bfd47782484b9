"""What a walk measures of a layer: its Sums and the inputs of its probe tokens, as named tensors on the host."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ream.core.statistics import LayerStatistics
from ream.core.sums import Sums
from ream.models.moe_block import MoEBlock
from ream.walk.walk import Probes


class LayerTotals:
    """Accumulates them, micro-batch by micro-batch."""

    def __init__(self, block: MoEBlock, probes: Probes, scores: str | None = None) -> None:
        """Args:
        block: of the original layer. probes: of the tokens that will come.
        scores: ``softmax`` where the statistics take these instead of the router's own.
        """
        self.block, self.probes, self.scores = block, probes, scores
        self.statistics = LayerStatistics(block.experts, block.unit)

    def update(self, part: slice, x: Tensor, counted: Tensor) -> None:
        """Add a micro-batch.

        Args:
            part: its rows among all. x: [B, L, H], inputs of the MoE layer. counted: [B, L], which tokens count.
        """
        self.probes.take(part, x, counted)
        flat = x.reshape(-1, x.shape[-1])
        self.statistics.update(flat, self.block.route(flat, self.scores), counted.reshape(-1).to(flat.device))

    def result(self) -> dict[str, Tensor]:
        """The Sums by their names, in float64, and ``probes`` [S, H]."""
        sums = {name: torch.from_numpy(array) for name, array in self.statistics.result().arrays().items()}
        return {**sums, "probes": self.probes.result().cpu()}


def sums_of(totals: Mapping[str, Tensor]) -> Sums:
    """The Sums among a layer's totals."""
    return Sums(**{name: totals[name].numpy() for name in Sums.__annotations__})
