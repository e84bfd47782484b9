"""The weights of a layer's experts, their neuron activations and outputs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

# Takes (W_gate x, W_up x) to neuron activations: act(gate) * up in most models.
GatedUnit = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class OverwritingUnit(Protocol):
    """A gated unit that can also write its result over an argument, for callers that no longer need the arguments."""

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """Neuron activations; the arguments stay as they are."""

    def overwrite(self, gate: Tensor, up: Tensor) -> Tensor:
        """The same numbers in the memory of ``gate``; ``up`` holds anything afterwards."""


@dataclass(frozen=True)
class Expert:
    """One gated expert. Its neurons own the rows of gate and up, their biases, and the columns of down.

    Attributes:
        gate: W_gate.
        up: W_up.
        down: W_down.
        gate_bias: added to W_gate x, where the model has biases (gpt-oss).
        up_bias: added to W_up x, likewise.
        down_bias: added to the output, likewise.
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
        """The expert on another device and in another dtype."""
        return Expert(**{name: tensor.to(device, dtype) for name, tensor in parts(self)})

    def permuted(self, permutation: Tensor) -> "Expert":
        """The same function with its neurons reordered: neuron ``permutation[a]`` comes to position a.

        Args:
            permutation: [D], int64.
        """
        moved = {"down": self.down[:, permutation]}
        for name, tensor in parts(self):
            if name in ("gate", "up", "gate_bias", "up_bias"):
                moved[name] = tensor[permutation]
        return Expert(**{**dict(parts(self)), **moved})


@dataclass(frozen=True)
class ExpertStack:
    """All experts of a layer: the tensors of `Expert`, stacked along a first axis."""

    gate: Float[Tensor, "N D H"]
    up: Float[Tensor, "N D H"]
    down: Float[Tensor, "N H D"]
    gate_bias: Float[Tensor, "N D"] | None = None
    up_bias: Float[Tensor, "N D"] | None = None
    down_bias: Float[Tensor, "N H"] | None = None
    input_gate: Float[Tensor, "N H"] | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.down)

    def __getitem__(self, index: int) -> Expert:
        """One expert (views)."""
        return Expert(**{name: tensor[index] for name, tensor in parts(self)})

    def run(self, first: int, stop: int) -> "ExpertStack":
        """The experts from ``first`` to before ``stop`` (views)."""
        return ExpertStack(**{name: tensor[first:stop] for name, tensor in parts(self)})


def parts(experts: Expert | ExpertStack) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and tensor of every field that is not None, in the order of the fields."""
    for field in fields(experts):
        tensor = getattr(experts, field.name)
        if tensor is not None:
            yield field.name, tensor


def product_ready(experts: ExpertStack) -> ExpertStack:
    """The same experts, with gate and up in a layout that a matrix product reads without a copy.

    Interleaved rows (gpt-oss) are copied here once; the product would copy them for every tile of tokens.
    """
    ready = {
        name: tensor.contiguous() if name in ("gate", "up") and 1 not in tensor.stride()[1:] else tensor
        for name, tensor in parts(experts)
    }
    return ExpertStack(**ready)


def scaled_inputs(x: Float[Tensor, "T H"], expert: Expert) -> Float[Tensor, "T H"]:
    """The inputs of the expert's projections: x, or sigmoid(input_gate · x) x where the expert has an input gate."""
    if expert.input_gate is None:
        return x
    return x * torch.sigmoid((x @ expert.input_gate).float()).to(x.dtype)[:, None]


def neuron_activations(x: Float[Tensor, "T H"], expert: Expert, unit: GatedUnit) -> Float[Tensor, "T D"]:
    """h(x) = unit(W_gate x, W_up x), with the expert's biases and input gate where it has them."""
    x = scaled_inputs(x, expert)
    gate, up = x @ expert.gate.T, x @ expert.up.T
    if expert.gate_bias is not None:
        gate = gate + expert.gate_bias
    if expert.up_bias is not None:
        up = up + expert.up_bias
    return unit(gate, up)


def expert_outputs(hidden: Float[Tensor, "T D"], expert: Expert) -> Float[Tensor, "T H"]:
    """E(x) = W_down h(x), with the expert's bias where it has one.

    Args:
        hidden: h(x), the neuron activations.
    """
    output = hidden @ expert.down.T
    return output if expert.down_bias is None else output + expert.down_bias


class BlockActivations:
    """Neuron activations of a block of experts in one batched product, in buffers that every call reuses."""

    def __init__(self, unit: GatedUnit) -> None:
        """Start without buffers.

        Args:
            unit: gated unit of the experts' neurons.
        """
        self.unit = unit
        self.buffers: dict[str, Tensor] = {}

    def room(self, name: str, dtype: torch.dtype, device: torch.device, *shape: int) -> Tensor:
        """An uninitialised tensor; it is overwritten after the next call with the same name."""
        size = math.prod(shape)
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype or buffer.device != device:
            self.buffers[name] = buffer = torch.empty(size, dtype=dtype, device=device)
        return buffer[:size].view(shape)

    def __call__(self, x: Float[Tensor, "T H"], experts: ExpertStack) -> Float[Tensor, "B T D"]:
        """h(x) of B experts, as `neuron_activations` computes it; valid until the next call."""
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
