"""The weights of a layer's experts, and what their neurons do."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

# (W_gate x, W_up x) to neuron activations: act(gate) * up in most models.
GatedUnit = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class OverwritingUnit(Protocol):
    """A gated unit that can leave its result in the place of an argument, where no one needs the arguments again."""

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """Neuron activations; the arguments stay."""

    def overwrite(self, gate: Tensor, up: Tensor) -> Tensor:
        """The same numbers, in the memory of ``gate``; what ``up`` holds afterwards is undefined."""


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

    def run(self, first: int, stop: int) -> "ExpertStack":
        """The experts from ``first`` to before ``stop`` (views)."""
        return ExpertStack(**{name: tensor[first:stop] for name, tensor in parts(self)})


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


class BlockActivations:
    """Neuron activations of some experts for many tokens, all experts in one product, in memory that is used again."""

    def __init__(self, unit: GatedUnit) -> None:
        """Args:
        unit: of the experts' neurons.
        """
        self.unit = unit
        self.buffers: dict[str, Tensor] = {}

    def room(self, name: str, dtype: torch.dtype, device: torch.device, *shape: int) -> Tensor:
        """A tensor with any content; it holds until the next call with that name."""
        size = math.prod(shape)
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype or buffer.device != device:
            self.buffers[name] = buffer = torch.empty(size, dtype=dtype, device=device)
        return buffer[:size].view(shape)

    def __call__(self, x: Float[Tensor, "T H"], experts: ExpertStack) -> Float[Tensor, "B T D"]:
        """h(x) of every expert, as `neuron_activations` has it; valid until the next call."""
        shape = (len(experts), len(x), experts.down.shape[2])
        inputs = x.expand(len(experts), *x.shape)
        if experts.input_gate is not None:
            inputs = inputs * torch.sigmoid((x @ experts.input_gate.T).float()).to(x.dtype).T[..., None]
        gate = torch.bmm(inputs, experts.gate.mT, out=self.room("gate", x.dtype, x.device, *shape))
        up = torch.bmm(inputs, experts.up.mT, out=self.room("up", x.dtype, x.device, *shape))
        if experts.gate_bias is not None:
            gate += experts.gate_bias[:, None]
        if experts.up_bias is not None:
            up += experts.up_bias[:, None]
        return self.unit.overwrite(gate, up) if isinstance(self.unit, OverwritingUnit) else self.unit(gate, up)
