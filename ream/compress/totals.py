"""What a walk measures of one MoE layer: its Sums and its probe inputs, as named tensors on the host."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ream.core.composition import ALL_QUANTITIES, OUTPUT_MEANS, Quantity
from ream.core.known_outputs import KnownOutputs, OutputStore
from ream.core.output_sample import OutputSample
from ream.core.pairs import routed_pairs
from ream.core.routed_outputs import routed_sum
from ream.core.sample import Sampling
from ream.core.statistics import LayerStatistics
from ream.core.sums import Sums, enough_sampled
from ream.models.moe_block import MoEBlock
from ream.walk.probes import Probes

ROUTED_AT_ONCE = 8192  # sampled tokens, whose scores and activations are in memory at the same time


class LayerTotals:
    """Accumulates a layer's Sums and probe inputs, micro-batch by micro-batch."""

    def __init__(
        self,
        block: MoEBlock,
        probes: Probes,
        scores: str | None = None,
        needs: frozenset[Quantity] = ALL_QUANTITIES,
        store: OutputStore | None = None,
    ) -> None:
        """Start with nothing.

        Args:
            block: the original MoE block.
            probes: probe tokens of the walk.
            scores: "softmax" to measure a softmax of the logits instead of the router's own scores.
            needs: what is measured beside counts; see `LayerStatistics`.
            store: takes the outputs of routed experts, where these are computed; None where nobody wants them.
        """
        self.block, self.probes, self.scores, self.store = block, probes, scores, store
        self.sampling = probes.sampling if needs & OUTPUT_MEANS else None
        self.batches = probes.batches if "batch-norms" in needs else None
        count = 0 if self.batches is None else len(self.batches)
        self.statistics = LayerStatistics(block.experts, block.unit, needs, self.sampling is None, count)

    def update(self, part: slice, x: Tensor, counted: Tensor, combine: bool = False) -> Tensor | None:
        """Add a micro-batch.

        Args:
            part: rows of the micro-batch.
            x: [B, L, H] inputs of the MoE block.
            counted: [B, L], True for tokens that count.
            combine: see `LayerStatistics.update`.

        Returns:
            The routed part of the block's output [B, L, H]; None where it is not at hand.
        """
        self.probes.take(part, x, counted)
        inputs, flat = self.block.expert_inputs(x), x.reshape(-1, x.shape[-1])
        routing, mask = self.block.route(flat, self.scores), counted.reshape(-1).to(flat.device)
        batch = None if self.batches is None else self.batches.of_tokens(part.start, *x.shape[:2]).to(flat.device)
        room = None if self.store is None else partial(self.store.room, part.start)
        routed = self.statistics.update(inputs.flatten(0, -2), routing, mask, combine, batch, room)
        return None if routed is None else routed.reshape(inputs.shape)

    def result(self, precise: Callable[[Sums], bool] | None = None) -> dict[str, Tensor]:
        """The Sums by name, in float64 but for those of a sample's blocks, and ``probes`` [S, H] in the model's dtype.

        Args:
            precise: whether sums whose outputs a sample gave are precise enough; while they are not, the sample is
                doubled up to its largest size. None: they are.
        """
        arrays = self.statistics.result().arrays()
        if self.sampling is not None:
            arrays |= self._sampled(arrays, self.sampling, precise)
        sums = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {**sums, "probes": self._probe_inputs().cpu().contiguous()}

    def _probe_inputs(self) -> Tensor:
        """What the experts are given [S, E] of the probe tokens; zero where a token does not count."""
        counted, inputs = self.probes.counted, self.probes.result()
        handed = self.block.expert_inputs(inputs)
        return handed if handed is inputs else handed * counted.to(handed)[:, None]

    def _sampled(
        self, arrays: Mapping[str, np.ndarray], size: Sampling, precise: Callable[[Sums], bool] | None
    ) -> dict[str, np.ndarray]:
        """The sums of outputs over the sample, block by block."""
        sample = OutputSample(self.statistics.experts, self.block.unit, self.statistics.needs)
        taken, wanted = 0, size.first
        while True:
            x, order = self.probes.sampled(taken, wanted)
            for start in range(0, len(x), ROUTED_AT_ONCE):
                part = slice(start, start + ROUTED_AT_ONCE)
                scores = self.block.route(x[part], self.scores).scores
                sample.add(self.block.expert_inputs(x[part]), scores, order[part])
            sums = sample.arrays()
            if wanted >= size.most or precise is None:
                return sums
            if enough_sampled(sums["sample_tokens"]) and precise(Sums.of({**arrays, **sums})):
                return sums
            taken, wanted = wanted, min(2 * wanted, size.most)


def block_output(
    block: MoEBlock, x: Tensor, routed: bool, known: KnownOutputs | None = None, origins: Sequence[int] = ()
) -> Tensor:
    """MoE(x) of the same shape as x.

    Args:
        block: any MoE block.
        x: [B, L, H] inputs of the block.
        routed: compute the routed experts by `routed_sum`, which takes three quarters of the time of transformers'
            loop on a CPU, and rounds sums once.
        known: outputs of the original layer's experts for the same inputs, which are not computed again.
        origins: see `KnownOutputs.sum`.
    """
    if not routed or x.device.type != "cpu":
        return block(x)
    flat = x.reshape(-1, x.shape[-1])
    routing, experts, inputs = block.route(flat), block.experts, block.expert_inputs(flat)
    if known is None:
        pairs = routed_pairs(routing.indices, len(experts), max(1, len(flat)))
        output = routed_sum(inputs, pairs, routing.weights.reshape(-1)[pairs.flat], experts, block.unit)
    else:
        output = known.sum(inputs, routing, origins, experts, block.unit)
    return block(x, output.reshape(*x.shape[:2], -1))


def sums_of(totals: Mapping[str, Tensor]) -> Sums:
    """The Sums among a layer's totals."""
    return Sums.of({name: tensor.numpy() for name, tensor in totals.items() if name != "probes"})
