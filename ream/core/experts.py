"""The weights of a layer's experts, their neuron activations and outputs."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

# Takes (W_gate x, W_up x) to neuron activations: act(gate) * up in most models. Of experts without a gate, a unit takes
# W_up x alone: act(up).
GatedUnit = Callable[..., Tensor]


@runtime_checkable
class OverwritingUnit(Protocol):
    """A unit that can also write its result over an argument, for callers that no longer need the arguments."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Neuron activations of gate and up, or of up alone; the arguments stay as they are."""

    def overwrite(self, *inputs: Tensor) -> Tensor:
        """The same numbers in the memory of the first argument; the second holds anything afterwards."""


@dataclass(frozen=True)
class Expert:
    """One expert. Its neurons own the rows of gate and up, their biases, and the columns of down.

    Attributes:
        gate: W_gate; None where experts have no gate (Nemotron-H).
        up: W_up.
        down: W_down.
        gate_bias: added to W_gate x, where the model has biases (gpt-oss).
        up_bias: added to W_up x, likewise.
        down_bias: added to the output, likewise.
        input_gate: the router's row, where the sigmoid of its product with a token scales this expert's input
            (Llama-4).
    """

    gate: Float[Tensor, "D H"] | None
    up: Float[Tensor, "D H"]
    down: Float[Tensor, "H D"]
    gate_bias: Float[Tensor, " D"] | None = None
    up_bias: Float[Tensor, " D"] | None = None
    down_bias: Float[Tensor, " H"] | None = None
    input_gate: Float[Tensor, " H"] | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Expert":
        """The expert on another device and in another dtype."""
        return replace(self, **{name: tensor.to(device, dtype) for name, tensor in parts(self)})

    def permuted(self, permutation: Tensor) -> "Expert":
        """The same function with its neurons reordered: neuron ``permutation[a]`` comes to position a.

        Args:
            permutation: [D], int64.
        """
        moved = {"down": self.down[:, permutation]}
        for name, tensor in parts(self):
            if name in ("gate", "up", "gate_bias", "up_bias"):
                moved[name] = tensor[permutation]
        return replace(self, **moved)


@dataclass(frozen=True)
class ExpertStack:
    """All experts of a layer: the tensors of `Expert`, stacked along a first axis."""

    gate: Float[Tensor, "N D H"] | None
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
        return expert_of({name: tensor[index] for name, tensor in parts(self)})

    def run(self, first: int, stop: int) -> "ExpertStack":
        """The experts from ``first`` to before ``stop`` (views)."""
        return replace(self, **{name: tensor[first:stop] for name, tensor in parts(self)})


def parts(experts: Expert | ExpertStack) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and tensor of every field that is not None, in the order of the fields."""
    for field in fields(experts):
        tensor = getattr(experts, field.name)
        if tensor is not None:
            yield field.name, tensor


def expert_of(tensors: Mapping[str, Tensor]) -> Expert:
    """The expert with these fields by name; all others are None."""
    fields: dict[str, Any] = {"gate": None, **tensors}
    return Expert(**fields)


def stack_of(tensors: Mapping[str, Tensor], input_gate: Tensor | None = None) -> ExpertStack:
    """The stack of experts with these fields by name; all others are None."""
    fields: dict[str, Any] = {"gate": None, **tensors}
    return ExpertStack(**fields, input_gate=input_gate)


def product_ready(experts: ExpertStack) -> ExpertStack:
    """The same experts, with gate and up in a layout that a matrix product reads without a copy.

    Interleaved rows (gpt-oss) are copied here once; the product would copy them for every tile of tokens.
    """
    ready = {
        name: tensor.contiguous() if name in ("gate", "up") and 1 not in tensor.stride()[1:] else tensor
        for name, tensor in parts(experts)
    }
    return replace(experts, **ready)


def scaled_inputs(x: Float[Tensor, "T H"], expert: Expert) -> Float[Tensor, "T H"]:
    """The inputs of the expert's projections: x, or sigmoid(input_gate · x) x where the expert has an input gate."""
    if expert.input_gate is None:
        return x
    return x * torch.sigmoid((x @ expert.input_gate).float()).to(x.dtype)[:, None]


def pre_activations(x: Float[Tensor, "T H"], expert: Expert) -> tuple[Float[Tensor, "T D"], ...]:
    """(W_gate x, W_up x), or (W_up x,) of an expert without a gate, with its biases: the arguments of its unit.

    Args:
        x: of `scaled_inputs`.
        expert: whose projections are applied.
    """
    up = x @ expert.up.T
    up = up if expert.up_bias is None else up + expert.up_bias
    if expert.gate is None:
        return (up,)
    gate = x @ expert.gate.T
    return gate if expert.gate_bias is None else gate + expert.gate_bias, up


def neuron_activations(x: Float[Tensor, "T H"], expert: Expert, unit: GatedUnit) -> Float[Tensor, "T D"]:
    """h(x) = unit(W_gate x, W_up x), or unit(W_up x), with the expert's biases and input gate where it has them."""
    return unit(*pre_activations(scaled_inputs(x, expert), expert))


def expert_outputs(hidden: Float[Tensor, "T D"], expert: Expert) -> Float[Tensor, "T H"]:
    """E(x) = W_down h(x), with the expert's bias where it has one.

    Args:
        hidden: h(x), the neuron activations.
    """
    output = hidden @ expert.down.T
    return output if expert.down_bias is None else output + expert.down_bias


class Rooms:
    """Buffers by name, so that memory is taken from the system once and not at every use."""

    def __init__(self) -> None:
        """Start without buffers."""
        self.buffers: dict[str, Tensor] = {}

    def room(self, name: str, dtype: torch.dtype, device: torch.device, *shape: int) -> Tensor:
        """An uninitialised tensor; it is overwritten after the next call with the same name."""
        size = math.prod(shape)
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype or buffer.device != device:
            self.buffers[name] = buffer = torch.empty(size, dtype=dtype, device=device)
        return buffer[:size].view(shape)


class BlockActivations(Rooms):
    """Neuron activations of a block of experts in one batched product, in buffers that every call reuses."""

    def __init__(self, unit: GatedUnit) -> None:
        """Start without buffers.

        Args:
            unit: unit of the experts' neurons.
        """
        super().__init__()
        self.unit = unit

    def __call__(self, x: Float[Tensor, "T H"], experts: ExpertStack) -> Float[Tensor, "B T D"]:
        """h(x) of B experts, as `neuron_activations` computes it; valid until the next call."""
        shape = (len(experts), len(x), experts.down.shape[2])
        inputs = x.expand(len(experts), *x.shape)
        if experts.input_gate is not None:
            inputs = inputs * torch.sigmoid((x @ experts.input_gate.T).float()).to(x.dtype).T[..., None]
        products = []
        for name in ("gate", "up"):
            rows, bias = getattr(experts, name), getattr(experts, f"{name}_bias")
            if rows is None:
                continue
            product = torch.bmm(inputs, rows.mT, out=self.room(name, x.dtype, x.device, *shape))
            products.append(product if bias is None else product.add_(bias[:, None]))
        return self.unit.overwrite(*products) if isinstance(self.unit, OverwritingUnit) else self.unit(*products)
