"""The weights of a layer's experts, and what their neurons do."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Expert:
    """One gated expert: gate and up rows and down columns belong to neurons."""

    gate: Float[Tensor, "D H"]
    up: Float[Tensor, "D H"]
    down: Float[Tensor, "H D"]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Expert":
        """The same weights on a device and in a dtype."""
        return Expert(self.gate.to(device, dtype), self.up.to(device, dtype), self.down.to(device, dtype))

    def permuted(self, permutation: Tensor) -> "Expert":
        """The same function with its neurons reordered: neuron ``permutation[a]`` comes to position a."""
        return Expert(self.gate[permutation], self.up[permutation], self.down[:, permutation])


@dataclass(frozen=True)
class ExpertStack:
    """All experts of a layer, as transformers 5 keeps them: gate rows above up rows in one tensor."""

    gate_up: Float[Tensor, "N F H"]
    down: Float[Tensor, "N H D"]

    def __len__(self) -> int:
        return len(self.down)

    def __getitem__(self, index: int) -> Expert:
        width = self.down.shape[-1]
        return Expert(self.gate_up[index, :width], self.gate_up[index, width:], self.down[index])


def neuron_activations(x: Float[Tensor, "T H"], expert: Expert, activation: Activation) -> Float[Tensor, "T D"]:
    """h(x) = act(W_gate x) * (W_up x)."""
    return activation(x @ expert.gate.T) * (x @ expert.up.T)
