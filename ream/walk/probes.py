"""The sampled tokens of a walk: a random sample of real tokens, the same one for every expert and layer.

It also knows where the walk's sequences stand among those of all shards and ranks, which batches of sequences need.

The probe tokens of the alignment are the first of it. Where means of outputs come from a sample, the first of it are
that sample, so that the two share the memory of their inputs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ream.core.sample import Sampling, probe_positions
from ream.walk.batches import Batches, SequenceBatches


class Probes:
    """Collects the MoE inputs of one layer's sampled tokens, in the sample's random order.

    Attributes:
        order: [s], for each probe among the walk's rows its index among all S probes.
        sampling: size of the sample for means of outputs; None where they are measured on all tokens.
        batches: where the walk's sequences stand in batches of all sequences; None where no batches are measured.
    """

    def __init__(
        self,
        data: Batches,
        probes: int,
        seed: int,
        rows: slice = slice(None),
        sampling: Sampling | None = None,
        batch: int | None = None,
    ) -> None:
        """Sample the tokens.

        Args:
            data: all sequences; the tokens are sampled from all of them.
            probes: S.
            seed: of the sample.
            rows: the sequences that the walk sees, which counts them from 0.
            sampling: size of the sample for means of outputs, if they come from one.
            batch: sequences in a batch, if batches are measured.
        """
        self.sampling = sampling
        wanted = max(probes, 0 if sampling is None else sampling.most)
        real_tokens = np.flatnonzero(data.mask.numpy().reshape(-1))
        positions = real_tokens[probe_positions(len(real_tokens), wanted, seed)]
        self._length = data.ids.shape[1]
        start, stop, _ = rows.indices(len(data.ids))
        self.batches = None if batch is None else SequenceBatches(batch, len(data.ids), start)
        in_rows = (positions >= start * self._length) & (positions < stop * self._length)
        self._order = np.flatnonzero(in_rows)  # ascending, so the probes come first
        self.order = self._order[self._order < probes]
        self._positions = positions[in_rows] - start * self._length
        self._counted = torch.zeros(len(self._positions), dtype=torch.bool)
        self._inputs: Tensor | None = None

    def take(self, part: slice, x: Tensor, counted: Tensor) -> None:
        """Take the sampled tokens among the MoE inputs of a micro-batch.

        Args:
            part: rows of the micro-batch among the walk's rows.
            x: [B, L, H] inputs of the MoE block.
            counted: [B, L], False for tokens that do not count in this layer. Their probe inputs are set to zero, which
                makes all neuron activations zero.
        """
        inputs = (x * counted[..., None].to(x)).reshape(-1, x.shape[-1])
        if self._inputs is None:
            self._inputs = inputs.new_empty(len(self._positions), inputs.shape[1])
        positions = self._positions - part.start * self._length
        probes = np.flatnonzero((positions >= 0) & (positions < len(inputs)))
        targets, sources = (torch.from_numpy(index).to(inputs.device) for index in (probes, positions[probes]))
        self._inputs[targets] = inputs[sources]
        self._counted[torch.from_numpy(probes)] = counted.reshape(-1).cpu()[torch.from_numpy(positions[probes])]

    def sampled(self, first: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs [n, H] of the counted tokens from ``first`` to before ``stop`` of the whole sample, and their indices.

        Args:
            first: index in the sample of all ranks and shards.
            stop: likewise.
        """
        assert self._inputs is not None
        mine = torch.from_numpy((self._order >= first) & (self._order < stop)) & self._counted
        chosen = mine.nonzero()[:, 0]
        return self._inputs[chosen.to(self._inputs.device)], torch.from_numpy(self._order)[chosen]

    @property
    def counted(self) -> Tensor:
        """Marks the probes that count in this layer, [s]."""
        return self._counted[: len(self.order)]

    def result(self) -> Tensor:
        """The probe inputs [s, H] of the layer, on the inputs' device. All are forgotten, ready for the next layer."""
        assert self._inputs is not None
        inputs, self._inputs = self._inputs, None
        return inputs if len(self.order) == len(inputs) else inputs[: len(self.order)].clone()


def probes_of(data: Batches, facts: Mapping[str, Any], rows: slice = slice(None)) -> Probes:
    """The sampled tokens of a walk whose results depend on these facts.

    Args:
        data: all sequences.
        facts: with ``probes``, ``seed`` and, where means of outputs come from a sample, ``sampled``: its first size and
            its largest; with ``saliency_batch`` where batches are measured.
        rows: the sequences that the walk sees.
    """
    sampled = facts.get("sampled")
    size = None if sampled is None else Sampling(*sampled)
    return Probes(data, facts["probes"], facts["seed"], rows, size, facts.get("saliency_batch"))
