"""One rank's part of a walk, and how the results of all ranks are put together."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ream.core.sums import Sums
from ream.walk.layer_file import layer_file
from ream.walk.ranks import Ranks


class Share:
    """How one rank's part of a walk becomes that of all ranks."""

    def __init__(
        self, ranks: Ranks, order: np.ndarray, ahead: int, committed: Path, rows: slice, sequences: int
    ) -> None:
        """Describe the part of this rank and what a killed run has left.

        Args:
            ranks: all processes.
            order: [s], indices among all probes of those among this rank's tokens.
            ahead: the next layer of the rank that had committed most when the run was killed. Ranks commit one after
                the other, so others may stand a layer before it; they take its results for the layers between.
            committed: that rank's folder, with the totals of the layers before ``ahead``, or what was decided on them.
            rows: this rank's sequences among all.
            sequences: of all ranks.
        """
        self.ranks, self.order, self.ahead, self.committed = ranks, order, ahead, committed
        self.rows, self.sequences = rows, sequences

    def known(self, index: int) -> dict[str, Tensor] | None:
        """What the killed run has committed of a layer on any rank (it is the same for all); None where nothing."""
        return load_file(layer_file(self.committed, index)) if index < self.ahead else None

    def together(self, index: int, measured: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The totals of a layer over all ranks: sums added up, probes in their order.

        Args:
            index: of the layer.
            measured: Sums and probes of this rank's tokens, by name.
        """
        counts = self.ranks.meet(f"layer {index}", len(measured["probes"]))
        sums = self.ranks.sum({name: measured[name].double() for name in Sums.__annotations__ if name in measured})
        return sums | {"probes": self.ranks.gather(measured["probes"], self.order, counts)}

    def total(self, own: Tensor) -> Tensor:
        """One total over all ranks, added up in float64: the same bits on each, in its own dtype, on its own device.

        Args:
            own: of this rank's tokens.
        """
        self.ranks.meet(f"a sum of {list(own.shape)}")
        return self.ranks.sum({"": own.detach().to("cpu", torch.float64)})[""].to(own.device, own.dtype)

    def decided(self, index: int, decide: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What becomes of a layer: the first rank decides and sends the decision to all others.

        If each rank decided by itself, ranks on different processors could break a tie in different ways.

        Args:
            index: of the layer.
            decide: called on the first rank alone.
        """
        return self.ranks.broadcast(f"layer {index} decided", decide() if self.ranks.first else {})
