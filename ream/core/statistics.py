"""The statistics of a layer, as sums over tokens (docs/method.md, "Statistics"); means of outputs take a dense pass.

Methods that need no mean outputs of experts do without the dense pass (`ream.core.routed_outputs`).

W_down is linear, so sum E_j(x) = W_down · sum h_j(x) (plus the number of tokens times the bias, where there is one).
An expert's outputs are therefore computed only for the tokens that are routed to it, since their norms are needed. For
all other tokens the D neuron activations are summed, and the down projection is applied once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ream.core.composition import ALL_QUANTITIES, OUTPUT_MEANS, Quantity
from ream.core.experts import BlockActivations, ExpertStack, GatedUnit, product_ready
from ream.core.norm_sums import NormSums
from ream.core.output_sums import output_sums
from ream.core.pairs import RoutedPairs, routed_pairs
from ream.core.routed_outputs import routed_outputs
from ream.core.routing import Routing
from ream.core.sums import Sums

# Number of neuron activations in a block, which should stay in the processor's cache between the operations on it. On
# two CPU cores this number was the fastest of those tried (benchmarks/RESULTS.md, "Speed"); a GPU's follows from the
# size of its cache.
CPU_NUMBERS, GPU_NUMBERS = 3 << 18, 1 << 23
CPU_TOKENS = 1024


@dataclass(frozen=True)
class Blocks:
    """The blocks in which a micro-batch is computed.

    Attributes:
        tokens: number of tokens in a block.
        experts: number of experts in a block.
    """

    tokens: int
    experts: int


def blocks_of(tokens: int, width: int, device: torch.device) -> Blocks:
    """Blocks whose activations fit a cache; on a GPU each has all tokens of the micro-batch.

    The threads of a CPU share the experts of a block. Where a block has more experts than there are threads, their
    number is rounded down to a multiple of the number of threads.

    Args:
        tokens: T, of the micro-batch.
        width: D.
        device: device to compute on.
    """
    on_cpu = device.type == "cpu"
    rows = max(1, min(tokens, CPU_TOKENS) if on_cpu else tokens)
    experts = max(1, (CPU_NUMBERS if on_cpu else GPU_NUMBERS) // (rows * width))
    threads = torch.get_num_threads()
    if on_cpu and experts > threads:
        experts -= experts % threads
    return Blocks(rows, experts)


class LayerStatistics:
    """Accumulates the Sums of one layer.

    Products run in the inputs' precision, sums over the tokens of a block in float32 at least, running totals in
    float64. One batched product computes many experts, and the host waits for the device once a micro-batch.
    """

    def __init__(
        self,
        experts: ExpertStack,
        unit: GatedUnit,
        needs: frozenset[Quantity] = ALL_QUANTITIES,
        dense: bool = True,
        batches: int = 0,
    ) -> None:
        """Start with all sums at 0.

        Args:
            experts: weights of the N experts.
            unit: gated unit of their neurons.
            needs: what is measured beside counts. Sums that are not needed are NaN, so that nothing can take them for
                measured; the dense pass gives both sums of outputs if either is needed.
            dense: compute all experts on all tokens for means of outputs; otherwise a sample of tokens gives these
                (`ream.core.output_sample`). Where they are not needed there is no dense pass either way.
            batches: number of batches of sequences of the whole source, for means of batch means; 0 for none.
        """
        self.experts, self.activations, self.needs = experts, BlockActivations(unit), needs
        self.dense = dense and bool(needs & OUTPUT_MEANS)
        count, _, width = experts.down.shape
        device = experts.down.device

        def zeros(*shape: int) -> Tensor:
            """A float64 total."""
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.tokens = 0
        self.count, self.norms = zeros(count), NormSums(count, needs, batches, device)
        self.hidden_sums = zeros(count, 2, width)  # sums of h_j and of p_j h_j
        self.score_sum = zeros(count)  # sums of p_j
        self.logit_gram = zeros(count, count)

    @torch.no_grad()
    def update(
        self,
        x: Float[Tensor, "T H"],
        routing: Routing,
        mask: Bool[Tensor, " T"] | None = None,
        combine: bool = False,
        batch: Int64[Tensor, " T"] | None = None,
        room: Callable[[RoutedPairs, Tensor], Tensor | None] | None = None,
    ) -> Float[Tensor, "T H"] | None:
        """Add a micro-batch of tokens.

        Args:
            x: inputs of the MoE layer.
            routing: how the model's router routes them.
            mask: True for real tokens; None where all are real.
            combine: return the routed part of the layer's output where it costs little: where the outputs of routed
                tokens are computed for their norms.
            batch: of the sequence of each token, where there are ``batches``.
            room: given the routed pairs and the inputs [T, H] of the real tokens, a tensor [P, H] for the outputs of
                the pairs, or None. It is asked only where these are computed.

        Returns:
            Σ g_j(x) E_j(x) over T(x), 0 for tokens that are not real; None where it is not at hand.
        """
        blocks = blocks_of(len(x), self.experts.down.shape[2], x.device)
        tile = blocks.tokens if self.dense else max(1, len(x))
        pairs = routed_pairs(routing.indices, len(self.experts), tile, mask)
        if not pairs.tokens:
            return torch.zeros_like(x) if combine and self._routed else None
        given, output = x, None
        weights = routing.weights.reshape(-1)[pairs.flat]
        logits, scores = routing.logits, routing.scores
        if pairs.kept is not None:
            x, logits, scores = x[pairs.kept], logits[pairs.kept], scores[pairs.kept]
            batch = None if batch is None else batch[pairs.kept]
        norms = None
        if self.dense:
            norms = self._dense(x, scores, pairs, blocks)
            self.score_sum += scores.sum(0, dtype=torch.float64)
        elif self._routed:
            factors, kept = weights if combine else None, None if room is None else room(pairs, x)
            norms, output = routed_outputs(x, pairs, factors, self.experts, self.activations.unit, kept)
        self.tokens += pairs.tokens
        self.count += pairs.count
        if norms is not None and "norms" in self.needs:
            self.norms.add(pairs, norms, weights, logits, batch)
        if "logit-gram" in self.needs:
            doubles = logits.double()
            self.logit_gram += doubles.T @ doubles
        if output is None or pairs.kept is None:
            return output
        return torch.zeros_like(given).index_copy_(0, pairs.kept, output)

    @property
    def _routed(self) -> bool:
        """Whether the experts that tokens are routed to are computed beside any dense pass."""
        return "norms" in self.needs and not self.dense

    def _dense(
        self, x: Float[Tensor, "T H"], scores: Float[Tensor, "T N"], pairs: RoutedPairs, blocks: Blocks
    ) -> Float[Tensor, " P"]:
        """Add h_j and p_j h_j of all experts and tokens to their sums; ‖E_j(x)‖ of the routed pairs, in float64."""
        total, count = len(x), len(self.experts)
        precise = torch.promote_types(x.dtype, torch.float32)
        factors = torch.ones(count, 2, total, dtype=precise, device=x.device)
        factors[:, 1] = scores.T
        norms = torch.empty(len(pairs.flat), dtype=torch.float64, device=x.device)
        # Row of each pair in the [N · n, D] activations of its tile of n tokens; the last tile may be shorter.
        tile_start = pairs.token.div(blocks.tokens, rounding_mode="floor") * blocks.tokens
        row = pairs.expert * (total - tile_start).clamp_(max=blocks.tokens) + (pairs.token - tile_start)
        for first in range(0, count, blocks.experts):
            stop = min(first + blocks.experts, count)
            experts = product_ready(self.experts.run(first, stop))
            for start in range(0, total, blocks.tokens):
                part = slice(start, min(start + blocks.tokens, total))
                hidden = self.activations(x[part], experts)
                summands = hidden
                if hidden.dtype != precise:
                    summands = self.activations.room("summands", precise, x.device, *hidden.shape).copy_(hidden)
                self.hidden_sums[first:stop] += torch.bmm(factors[first:stop, :, part], summands)
                offsets = pairs.offsets[start // blocks.tokens * count + first :][: stop - first + 1]
                if "norms" in self.needs and offsets[0] < offsets[-1]:
                    rows = row[offsets[0] : offsets[-1]] - first * hidden.shape[1]
                    norms[offsets[0] : offsets[-1]] = self._norms(hidden.flatten(0, 1), rows, experts, offsets)
        return norms

    def _norms(
        self, hidden: Float[Tensor, "M D"], rows: Int64[Tensor, " R"], experts: ExpertStack, offsets: list[int]
    ) -> Float[Tensor, " R"]:
        """‖E_j‖ of the routed rows of a block.

        Args:
            hidden: activations of all experts of the block, one after the other.
            rows: the routed rows of ``hidden``, sorted by expert.
            experts: the block's experts.
            offsets: offsets[j] − offsets[0] is the first of ``rows`` of the block's expert j; one more at the end.
        """
        routed = hidden.index_select(0, rows)
        outputs = self.activations.room("outputs", routed.dtype, routed.device, len(routed), experts.down.shape[1])
        for position in range(len(experts)):
            part = slice(offsets[position] - offsets[0], offsets[position + 1] - offsets[0])
            if part.start < part.stop:
                torch.mm(routed[part], experts.down[position].T, out=outputs[part])
                if experts.down_bias is not None:
                    outputs[part] += experts.down_bias[position]
        precise = torch.promote_types(outputs.dtype, torch.float32)
        norms: Tensor = torch.linalg.vector_norm(outputs, dim=1, dtype=precise)
        return norms

    def result(self) -> Sums:
        """A copy of the sums so far, in float64 on the host."""
        if self.dense:
            tokens = torch.full_like(self.score_sum, self.tokens)
            outputs = output_sums(self.hidden_sums, torch.stack([tokens, self.score_sum], dim=1), self.experts)
        else:
            outputs = self.hidden_sums.new_full((2, *self.experts.down.shape[:2]), torch.nan)

        def host(total: Tensor) -> np.ndarray:
            """A copy of a running total."""
            return total.cpu().numpy().copy()  # on a CPU, numpy() shares the memory of the running total

        def needed(quantity: Quantity, total: Tensor) -> np.ndarray:
            """A copy of a running total; NaN where it was not measured."""
            return host(total if quantity in self.needs else torch.full_like(total, torch.nan))

        return Sums(
            tokens=np.array(float(self.tokens)),
            count=host(self.count),
            output_sum=host(outputs[0]),
            gated_output_sum=host(outputs[1]),
            logit_gram=needed("logit-gram", self.logit_gram),
            **self.norms.arrays(),
        )
