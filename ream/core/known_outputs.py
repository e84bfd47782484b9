"""Outputs of routed experts that are kept while a layer is decided, so that its compressed form need not compute them.

An expert that no other is merged into stays as it is, and a token that was routed to it still is: the removed experts
only make room. So a pruned layer's output takes the experts anew only of those tokens that lost one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit
from ream.core.pairs import RoutedPairs, routed_pairs
from ream.core.routed_outputs import routed_sum
from ream.core.routing import Routing

MOST_BYTES = 1 << 30  # of the outputs that are kept of a layer; of later micro-batches all are computed again
CHANGED = -1  # in the place of an original expert: one with other weights


@dataclass(frozen=True)
class KnownOutputs:
    """E_j(x) of the routed pairs of a micro-batch, sorted by expert.

    Attributes:
        outputs: of each pair.
        token: each pair's token in the micro-batch.
        offsets: offsets[j] to offsets[j + 1] are the pairs of the original's expert j.
    """

    outputs: Float[Tensor, "P H"]
    token: Int64[Tensor, " P"]
    offsets: Sequence[int]

    def sum(
        self, x: Float[Tensor, "T H"], routing: Routing, origins: Sequence[int], experts: ExpertStack, unit: GatedUnit
    ) -> Float[Tensor, "T H"]:
        """Σ g_j(x) E_j(x) of a compressed layer, equal to computing all of it but for the order in which it is added.

        Args:
            x: inputs of the MoE layer.
            routing: of the compressed layer's router.
            origins: of each of its K experts the index of the original's expert that it is; CHANGED for those with
                other weights.
            experts: its experts.
            unit: gated unit of their neurons.
        """
        rows = self._rows(routing.indices, torch.tensor(origins, device=x.device))
        known = rows >= 0
        precise = torch.promote_types(x.dtype, torch.float32)
        weights = torch.zeros(len(self.outputs), dtype=precise, device=x.device)
        weights[rows[known]] = routing.weights[known].to(precise)
        combined = torch.zeros(x.shape, dtype=precise, device=x.device)
        for expert in origins:
            part = slice(self.offsets[expert], self.offsets[expert + 1]) if expert != CHANGED else slice(0, 0)
            if part.start < part.stop:
                combined.index_add_(0, self.token[part], self.outputs[part].to(precise) * weights[part, None])
        count = len(experts)
        others = routed_pairs(routing.indices.masked_fill(known, count), count + 1, max(1, len(x)))
        return routed_sum(x, others, routing.weights.reshape(-1)[others.flat], experts, unit, combined)

    def _rows(self, indices: Int64[Tensor, "T k"], origins: Int64[Tensor, " K"]) -> Int64[Tensor, "T k"]:
        """The row of ``outputs`` with each selected expert's output for a token; −1 where there is none."""
        experts = len(self.offsets) - 1
        sizes = torch.tensor(self.offsets, device=indices.device).diff()
        expert = torch.arange(experts, device=indices.device).repeat_interleave(sizes)
        rows = torch.full((len(indices), experts + 1), -1, dtype=torch.int64, device=indices.device)
        rows[self.token, expert] = torch.arange(len(expert), device=indices.device)
        selected = origins[indices]
        return rows.gather(1, torch.where(selected == CHANGED, experts, selected))


class OutputStore:
    """Keeps the routed outputs of a layer's micro-batches, as many as there is room for, in memory that is used again.

    Which micro-batches are kept follows from their sizes and order alone, so results do not depend on the machine.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        """Start without any; ``most`` is the room in bytes."""
        self._most, self._left = most, most
        self._memory: dict[int, Tensor] = {}
        self._known: dict[int, KnownOutputs] = {}

    def clear(self) -> None:
        """Forget the outputs, ready for the next layer."""
        self._left = self._most
        self._known.clear()

    def room(self, start: int, pairs: RoutedPairs, x: Float[Tensor, "T H"]) -> Float[Tensor, "P H"] | None:
        """A tensor to be filled with the outputs of a micro-batch's pairs; None where there is no more room.

        Args:
            start: first row of the micro-batch, its name.
            pairs: of one tile.
            x: inputs of the real tokens, whose width and dtype the outputs have.
        """
        numbers = len(pairs.flat) * x.shape[1]
        self._left -= numbers * x.dtype.itemsize
        if self._left < 0:
            return None
        memory = self._memory.get(start)
        if memory is None or memory.dtype != x.dtype or len(memory) < numbers:
            memory = self._memory[start] = x.new_empty(numbers)
        token = pairs.token if pairs.kept is None else pairs.kept[pairs.token]
        outputs = memory[:numbers].view(len(pairs.flat), x.shape[1])
        self._known[start] = KnownOutputs(outputs, token, pairs.offsets)
        return outputs

    def known(self, start: int) -> KnownOutputs | None:
        """The outputs of a micro-batch; None where they were not kept."""
        return self._known.get(start)
