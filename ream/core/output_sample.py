"""Sums of all experts' outputs over a random sample of tokens (Eq. 4, Eq. 8), in blocks that tell how precise they are.

Mean outputs are used as mean vectors alone, so a sample of tokens gives them, with an error of 1 / √n. The sample is
divided at random into B blocks, and the sums of each block are kept: how similarities differ when a block is left out
is their standard error (`ream.core.precision`). Sums of squares of every output would need the outputs of all experts
one by one, half as much arithmetic again, and would not tell how the outputs of two experts vary together.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ream.core.composition import OUTPUT_MEANS, Quantity
from ream.core.experts import BlockActivations, ExpertStack, GatedUnit, product_ready
from ream.core.output_sums import output_sums
from ream.core.statistics import blocks_of

BLOCKS = 16  # B: a standard error from 16 blocks is within a fifth of the true one, two times out of three
PARTS: dict[Quantity, str] = {"output-means": "output_parts", "gated-output-means": "gated_output_parts"}


class OutputSample:
    """Accumulates the sums of E_j(x) and of p_j(x) E_j(x) over sampled tokens, block by block.

    W_down is linear, so only neuron activations are summed over tokens; products run in the inputs' precision, sums of
    a tile of tokens in float32 at least, totals in float64.
    """

    def __init__(self, experts: ExpertStack, unit: GatedUnit, needs: frozenset[Quantity]) -> None:
        """Start with no token.

        Args:
            experts: weights of the N experts.
            unit: gated unit of their neurons.
            needs: which of the two means are wanted.
        """
        self.experts, self.activations = experts, BlockActivations(unit)
        self.kinds = [kind for kind in PARTS if kind in needs & OUTPUT_MEANS]
        count, _, width = experts.down.shape
        device = experts.down.device
        self.tokens = torch.zeros(BLOCKS, dtype=torch.float64, device=device)
        self.factor_sums = torch.zeros(count, len(self.kinds), BLOCKS, dtype=torch.float64, device=device)
        self.hidden_sums = torch.zeros(count, len(self.kinds), BLOCKS, width, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, x: Float[Tensor, "T H"], scores: Float[Tensor, "T N"], order: Int64[Tensor, " T"]) -> None:
        """Add tokens.

        Args:
            x: inputs of the MoE layer, real tokens alone.
            scores: p(x).
            order: each token's index in the whole sample, of which its block is the rest by B. So shards and ranks,
                which have some of the tokens each, agree on the blocks.
        """
        blocks = blocks_of(len(x), self.experts.down.shape[2], x.device)
        precise = torch.promote_types(x.dtype, torch.float32)
        member = torch.nn.functional.one_hot(order.to(x.device) % BLOCKS, BLOCKS).T.to(precise)  # [B, T]
        self.tokens += member.sum(1, dtype=torch.float64)
        for first in range(0, len(self.experts), blocks.experts):
            stop = min(first + blocks.experts, len(self.experts))
            experts = product_ready(self.experts.run(first, stop))
            for start in range(0, len(x), blocks.tokens):
                part = slice(start, min(start + blocks.tokens, len(x)))
                gates = scores[part, first:stop].T.to(precise)
                weights = [member[:, part].expand(stop - first, -1, -1), gates[:, None] * member[None, :, part]]
                factors = torch.cat([weights[kind == "gated-output-means"] for kind in self.kinds], dim=1)
                hidden = self.activations(x[part], experts).to(precise)
                products = torch.bmm(factors, hidden).unflatten(1, (len(self.kinds), BLOCKS))
                self.hidden_sums[first:stop] += products
                self.factor_sums[first:stop] += factors.sum(2, dtype=torch.float64).unflatten(1, (len(self.kinds), -1))

    def arrays(self) -> dict[str, np.ndarray]:
        """``sample_tokens`` [B] in float64 and, of the means that are wanted, sums [B, N, H] in float32, by name."""
        arrays = {"sample_tokens": self.tokens.cpu().numpy().copy()}
        outputs = output_sums(self.hidden_sums, self.factor_sums, self.experts)
        for position, kind in enumerate(self.kinds):
            arrays[PARTS[kind]] = outputs[position].float().cpu().numpy().copy()
        return arrays
