"""Reading the weights of a layer's experts and router, however they lie in the checkpoint."""

from typing import Protocol

from torch import Tensor

from ream.core.experts import Expert, expert_of
from ream.models.family.architecture import Architecture
from ream.models.family.expert_tensors import unpacked
from ream.models.family.family import RouterTensor
from ream.models.family.layout import ExpertTensor
from ream.models.storage.checkpoint import Checkpoint


class BlockWeights(Protocol):
    """The weights of a MoE block's experts and router: the original's, or a compressed layer's."""

    def __len__(self) -> int:
        """Number of experts."""
        ...

    def expert(self, position: int) -> Expert:
        """Weights of one expert, in the checkpoint's dtype."""
        ...

    def router(self, kind: RouterTensor) -> Tensor:
        """A tensor of the router, with an entry for each of these experts."""
        ...


class OriginalWeights:
    """The weights of a layer's block as they are in the checkpoint (`BlockWeights`)."""

    def __init__(self, checkpoint: Checkpoint, architecture: Architecture, layer: int) -> None:
        """Args:
        checkpoint: whose weights are read.
        architecture: of the checkpoint.
        layer: index of a MoE layer.
        """
        self._checkpoint, self._architecture, self._layer = checkpoint, architecture, layer

    def __len__(self) -> int:
        """N."""
        return self._architecture.experts

    def expert(self, position: int) -> Expert:
        """Weights of one expert, in the checkpoint's dtype."""
        return read_expert(self._checkpoint, self._architecture, self._layer, position)

    def router(self, kind: RouterTensor) -> Tensor:
        """A tensor of the router, with N entries."""
        return self._checkpoint.read(self._architecture.tensor_name(self._layer, kind))


def read_expert(checkpoint: Checkpoint, architecture: Architecture, layer: int, expert: int) -> Expert:
    """The weights of one expert in the checkpoint's dtype; from stacked tensors only its share is read."""
    tensors = {kind.name: read_share(checkpoint, architecture, layer, kind, expert) for kind in architecture.layout}
    return expert_of(unpacked(architecture.layout, tensors))


def read_share(
    checkpoint: Checkpoint, architecture: Architecture, layer: int, kind: ExpertTensor, expert: int
) -> Tensor:
    """One expert's share of a tensor of the checkpoint's layout."""
    if kind.stacked:
        return checkpoint.read(architecture.tensor_name(layer, kind), row=expert)
    return checkpoint.read(architecture.tensor_name(layer, kind, expert))


def input_gates(checkpoint: Checkpoint, architecture: Architecture, layer: int) -> Tensor | None:
    """[N, H]: the router's rows where they scale the experts' inputs (Llama-4), else None."""
    if not architecture.family.scales_inputs:
        return None
    return checkpoint.read(architecture.tensor_name(layer, architecture.family.router[0]))
