"""The weights of a layer's experts, and what their neurons do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

# (W_gate x, W_up x) to neuron activations: act(gate) * up in most models.
GatedUnit = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Expert:
    """One gated expert: gate and up rows, their biases and down columns belong to neurons.

    Attributes:
        gate_bias, up_bias, down_bias: where the model has them (gpt-oss).
        input_gate: the router's row, where the sigmoid of its product with a token scales this expert's input
            (Llama-4).
    """

    gate: Float[Tensor, "D H"]
    up: Float[Tensor, "D H"]
    down: Float[Tensor, "H D"]
    gate_bias: Float[Tensor, " D"] | None = None
    up_bias: Float[Tensor, " D"] | None = None
    down_bias: Float[Tensor, " H"] | None = None
    input_gate: Float[Tensor, " H"] | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Expert":
        """The same weights on a device and in a dtype."""
        return Expert(**{name: tensor.to(device, dtype) for name, tensor in parts(self)})

    def permuted(self, permutation: Tensor) -> "Expert":
        """The same function with its neurons reordered: neuron ``permutation[a]`` comes to position a."""
        moved = {"down": self.down[:, permutation]}
        for name, tensor in parts(self):
            if name in ("gate", "up", "gate_bias", "up_bias"):
                moved[name] = tensor[permutation]
        return Expert(**{**dict(parts(self)), **moved})


@dataclass(frozen=True)
class ExpertStack:
    """All experts of a layer: the tensors of an Expert, stacked."""

    gate: Float[Tensor, "N D H"]
    up: Float[Tensor, "N D H"]
    down: Float[Tensor, "N H D"]
    gate_bias: Float[Tensor, "N D"] | None = None
    up_bias: Float[Tensor, "N D"] | None = None
    down_bias: Float[Tensor, "N H"] | None = None
    input_gate: Float[Tensor, "N H"] | None = None

    def __len__(self) -> int:
        return len(self.down)

    def __getitem__(self, index: int) -> Expert:
        return Expert(**{name: tensor[index] for name, tensor in parts(self)})


def parts(experts: Expert | ExpertStack) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors, of those that there are."""
    for field in fields(experts):
        tensor = getattr(experts, field.name)
        if tensor is not None:
            yield field.name, tensor


def scaled_inputs(x: Float[Tensor, "T H"], expert: Expert) -> Float[Tensor, "T H"]:
    """What the expert's projections are given: the inputs, or, where the expert scales them, sigmoid(row · x) x."""
    if expert.input_gate is None:
        return x
    return x * torch.sigmoid((x @ expert.input_gate).float()).to(x.dtype)[:, None]


def neuron_activations(x: Float[Tensor, "T H"], expert: Expert, unit: GatedUnit) -> Float[Tensor, "T D"]:
    """h(x) = unit(W_gate x, W_up x), with the expert's biases; of the scaled input where the expert scales it."""
    x = scaled_inputs(x, expert)
    gate, up = x @ expert.gate.T, x @ expert.up.T
    if expert.gate_bias is not None:
        gate = gate + expert.gate_bias
    if expert.up_bias is not None:
        up = up + expert.up_bias
    return unit(gate, up)


def expert_outputs(hidden: Float[Tensor, "T D"], expert: Expert) -> Float[Tensor, "T H"]:
    """E(x) = W_down h(x), with the expert's bias.

    Args:
        hidden: h(x), the neuron activations.
    """
    output = hidden @ expert.down.T
    return output if expert.down_bias is None else output + expert.down_bias
