"""What a walk measures of one MoE layer: its Sums and its probe inputs, as named tensors on the host."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ream.core.statistics import LayerStatistics
from ream.core.sums import Sums
from ream.models.moe_block import MoEBlock
from ream.walk.probes import Probes


class LayerTotals:
    """Accumulates a layer's Sums and probe inputs, micro-batch by micro-batch."""

    def __init__(self, block: MoEBlock, probes: Probes, scores: str | None = None, dense: bool = True) -> None:
        """Start with nothing.

        Args:
            block: the original MoE block.
            probes: probe tokens of the walk.
            scores: "softmax" to measure a softmax of the logits instead of the router's own scores.
            dense: compute all experts on all tokens; see `LayerStatistics`.
        """
        self.block, self.probes, self.scores = block, probes, scores
        self.statistics = LayerStatistics(block.experts, block.unit, dense)

    def update(self, part: slice, x: Tensor, counted: Tensor) -> None:
        """Add a micro-batch.

        Args:
            part: rows of the micro-batch.
            x: [B, L, H] inputs of the MoE block.
            counted: [B, L], True for tokens that count.
        """
        inputs, flat = self.block.expert_inputs(x), x.reshape(-1, x.shape[-1])
        self.probes.take(part, inputs, counted)
        routing = self.block.route(flat, self.scores)
        self.statistics.update(inputs.flatten(0, -2), routing, counted.reshape(-1).to(flat.device))

    def result(self) -> dict[str, Tensor]:
        """The Sums by name in float64, and ``probes`` [S, H] in the model's dtype."""
        sums = {name: torch.from_numpy(array) for name, array in self.statistics.result().arrays().items()}
        return {**sums, "probes": self.probes.result().cpu()}


def sums_of(totals: Mapping[str, Tensor]) -> Sums:
    """The Sums among a layer's totals."""
    return Sums(**{name: totals[name].numpy() for name in Sums.__annotations__})
