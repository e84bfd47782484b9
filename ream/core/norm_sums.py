"""What statistics sum of the norms ‖E_j(x)‖ of routed outputs; some of it batch by batch, for means of batch means."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ream.core.composition import Quantity
from ream.core.pairs import RoutedPairs
from ream.core.routing import softmax_scores
from ream.core.super_experts import POWER


class NormSums:
    """Accumulates the sums over the routed pairs of a token and an expert of one layer, with float64 totals."""

    def __init__(self, experts: int, needs: frozenset[Quantity], batches: int, device: torch.device) -> None:
        """Start with all sums at 0.

        Args:
            experts: N.
            needs: what is measured; sums that are not needed are NaN or absent in the result.
            batches: G, batches of sequences for means of batch means; 0 where the caller has no batches.
            device: where the sums are kept.
        """
        self.needs, self.experts = needs, experts
        self.batches = batches if "batch-norms" in needs else 0

        def zeros(*shape: int) -> Tensor:
            """A float64 total."""
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.norm_sum, self.squared_norm_sum = zeros(experts), zeros(experts)
        self.weighted_norm_sum, self.released_norm_sum = zeros(experts), zeros(experts)
        self.power_norm_sum = zeros(experts)
        self.pair_count, self.pair_sum = (zeros(*[experts if "pair-norms" in needs else 0] * 2) for _ in range(2))
        self.batch_count, self.batch_norm_sum = zeros(self.batches, experts), zeros(self.batches, experts)

    def add(
        self,
        pairs: RoutedPairs,
        norms: Float[Tensor, " P"],
        weights: Float[Tensor, " P"],
        logits: Float[Tensor, "T N"],
        batch: Int64[Tensor, " T"] | None,
    ) -> None:
        """Add the routed pairs of a micro-batch.

        Args:
            pairs: which tokens go to which experts.
            norms: ‖E_j(x)‖ of each pair.
            weights: g_j(x) of each pair.
            logits: z(x) of the real tokens.
            batch: the batch of each real token's sequence; None where the caller has no batches.
        """
        released = norms * softmax_scores(logits)[pairs.token, pairs.expert].square()
        self.norm_sum.index_add_(0, pairs.expert, norms)
        self.weighted_norm_sum.index_add_(0, pairs.expert, norms * weights)
        self.released_norm_sum.index_add_(0, pairs.expert, released)
        if "squared-norms" in self.needs:
            self.squared_norm_sum.index_add_(0, pairs.expert, norms.square())
        if "peak-norms" in self.needs:
            self.power_norm_sum.index_add_(0, pairs.expert, norms.pow(POWER))
        if "pair-norms" in self.needs:
            self._add_pairs(pairs, norms * weights)
        if self.batches:
            assert batch is not None
            cell = batch[pairs.token] * self.experts + pairs.expert
            self.batch_count.view(-1).index_add_(0, cell, torch.ones_like(norms))
            self.batch_norm_sum.view(-1).index_add_(0, cell, released)

    def _add_pairs(self, pairs: RoutedPairs, values: Float[Tensor, " P"]) -> None:
        """Add the products of a(x) of every two experts that a token is routed to, and their number."""
        table = torch.zeros(2, pairs.tokens, self.experts, dtype=torch.float64, device=values.device)
        table[0, pairs.token, pairs.expert] = 1.0
        table[1, pairs.token, pairs.expert] = values.double()
        self.pair_count += table[0].T @ table[0]
        self.pair_sum += table[1].T @ table[1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of the sums by their names in `Sums`, on the host."""
        totals = {
            "norm_sum": self.norm_sum,
            "weighted_norm_sum": self.weighted_norm_sum,
            "released_norm_sum": self.released_norm_sum,
        }
        if "norms" not in self.needs:
            totals = {name: torch.full_like(total, torch.nan) for name, total in totals.items()}
        if "squared-norms" in self.needs:
            totals["squared_norm_sum"] = self.squared_norm_sum
        if "peak-norms" in self.needs:
            totals["power_norm_sum"] = self.power_norm_sum
        if "pair-norms" in self.needs:
            totals |= {"pair_count": self.pair_count, "pair_sum": self.pair_sum}
        if self.batches:
            totals |= {"batch_count": self.batch_count, "batch_norm_sum": self.batch_norm_sum}
        return {name: total.cpu().numpy().copy() for name, total in totals.items()}
