"""What an expert's neurons compute, from config.json and without importing transformers, which takes 5 s: for stages
that run no model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ream.core.experts import GatedUnit
from ream.errors import UserError


def _gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _relu_squared(x: Tensor) -> Tensor:
    return functional.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": functional.relu,
    "relu2": _relu_squared,
}


def _relu_squared_in_place(x: Tensor) -> Tensor:
    return torch.relu_(x).square_()


# Activations that torch can compute in place; the others take additional memory.
IN_PLACE: dict[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = {
    functional.silu: partial(functional.silu, inplace=True),
    functional.relu: torch.relu_,
    _relu_squared: _relu_squared_in_place,
}


@dataclass(frozen=True)
class Gated:
    """act(gate) * up, the gated unit of most models."""

    activation: Callable[[Tensor], Tensor]

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """Neuron activations; the arguments stay as they are."""
        return self.activation(gate) * up

    def overwrite(self, gate: Tensor, up: Tensor) -> Tensor:
        """The same numbers, in the memory of ``gate``."""
        if self.activation in IN_PLACE:
            return IN_PLACE[self.activation](gate).mul_(up)
        return torch.mul(self.activation(gate), up, out=gate)


@dataclass(frozen=True)
class Ungated:
    """act(up), the unit of experts without a gate (Nemotron-H)."""

    activation: Callable[[Tensor], Tensor]

    def __call__(self, up: Tensor) -> Tensor:
        """Neuron activations; the argument stays as it is."""
        return self.activation(up)

    def overwrite(self, up: Tensor) -> Tensor:
        """The same numbers; in the memory of ``up`` where torch can."""
        return IN_PLACE.get(self.activation, self.activation)(up)


@dataclass(frozen=True)
class Clamped:
    """gpt-oss: gate · sigmoid(α gate) · (up + 1), with gate clamped from above and up from both sides.

    Attributes:
        alpha: α.
        limit: of gate, and of the magnitude of up.
    """

    alpha: float
    limit: float

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """Neuron activations; the arguments stay as they are."""
        gate, up = gate.clamp(max=self.limit), up.clamp(min=-self.limit, max=self.limit)
        return (up + 1) * (gate * torch.sigmoid(gate * self.alpha))

    def overwrite(self, gate: Tensor, up: Tensor) -> Tensor:
        """The same numbers, in the memory of ``gate``; ``up`` is overwritten, too."""
        gate.clamp_(max=self.limit)
        swish = (gate * self.alpha).sigmoid_()
        return gate.mul_(swish).mul_(up.clamp_(min=-self.limit, max=self.limit).add_(1))


@dataclass(frozen=True)
class ClampedGated:
    """act(gate) * up, with gate clamped from above and up from both sides (GLM-5, DeepSeek-V4, Hunyuan 4).

    Attributes:
        activation: act.
        limit: of gate, and of the magnitude of up.
    """

    activation: Callable[[Tensor], Tensor]
    limit: float

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """Neuron activations; the arguments stay as they are."""
        return self.activation(gate.clamp(max=self.limit)) * up.clamp(min=-self.limit, max=self.limit)


def _gated(config: Mapping[str, Any]) -> GatedUnit:
    name = config["hidden_act"]
    if name not in ACTIVATIONS:
        raise UserError(f"hidden_act '{name}' is not supported; known are {', '.join(ACTIVATIONS)}")
    return Gated(ACTIVATIONS[name])


def _clamped(config: Mapping[str, Any]) -> GatedUnit:
    return Clamped(config.get("swiglu_alpha", 1.702), config.get("swiglu_limit", 7.0))


def _clamped_silu(config: Mapping[str, Any]) -> GatedUnit:
    return ClampedGated(functional.silu, config.get("swiglu_limit") or 7.0)


def _always(activation: Callable[[Tensor], Tensor], config: Mapping[str, Any]) -> GatedUnit:
    return Gated(activation)


def _ungated(activation: Callable[[Tensor], Tensor], config: Mapping[str, Any]) -> GatedUnit:
    return Ungated(activation)


def _own(config: Mapping[str, Any]) -> GatedUnit:
    from ream.models.family.derived.own_unit import own_unit  # which imports transformers

    return own_unit(config)


UNGATED = "ungated-"  # start of the names of units without a gate
# An activation's own name is the gated unit of models that use it whatever config.json says.
UNITS: dict[str, Callable[[Mapping[str, Any]], GatedUnit]] = {
    "gated": _gated,
    "clamped": _clamped,
    "clamped-silu": _clamped_silu,
    **{name: partial(_always, activation) for name, activation in ACTIVATIONS.items()},
    **{UNGATED + name: partial(_ungated, activation) for name, activation in ACTIVATIONS.items()},
    "own": _own,
}


def unit_of(name: str, config: Mapping[str, Any]) -> GatedUnit:
    """The unit of a family's experts.

    Args:
        name: a key of UNITS.
        config: the text model's part of config.json.

    Raises:
        UserError: ``hidden_act`` is not a known activation.
    """
    return UNITS[name](config)
