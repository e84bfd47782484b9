"""The probe tokens of a walk: a random sample of real tokens, the same one for every expert and layer."""

import numpy as np
import torch
from torch import Tensor

from ream.core.sample import probe_positions
from ream.walk.batches import Batches


class Probes:
    """Collects the MoE inputs of one layer's probe tokens, in the probes' random order.

    Attributes:
        order: [s], for each probe among the walk's rows its index among all S probes.
    """

    def __init__(self, data: Batches, probes: int, seed: int, rows: slice = slice(None)) -> None:
        """Sample the probe tokens.

        Args:
            data: all sequences; the probes are sampled from all of them.
            probes: S.
            seed: of the sample.
            rows: the sequences that the walk sees, which counts them from 0.
        """
        real_tokens = np.flatnonzero(data.mask.numpy().reshape(-1))
        positions = real_tokens[probe_positions(len(real_tokens), probes, seed)]
        self._length = data.ids.shape[1]
        start, stop, _ = rows.indices(len(data.ids))
        in_rows = (positions >= start * self._length) & (positions < stop * self._length)
        self.order = np.flatnonzero(in_rows)
        self._positions = positions[in_rows] - start * self._length
        self._inputs: Tensor | None = None

    def take(self, part: slice, x: Tensor, counted: Tensor) -> None:
        """Take the probes among the MoE inputs of a micro-batch.

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

    def result(self) -> Tensor:
        """The probe inputs [s, H] of the layer, on the inputs' device. They are forgotten, ready for the next layer."""
        assert self._inputs is not None
        inputs, self._inputs = self._inputs, None
        return inputs
