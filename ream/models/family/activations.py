"""What an expert's neurons compute, by config.json and without importing transformers (5 s): for stages that run no
model."""

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


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": functional.relu,
}


# Of those that torch has in place; the others take memory of their own.
IN_PLACE: dict[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = {
    functional.silu: partial(functional.silu, inplace=True),
    functional.relu: torch.relu_,
}


@dataclass(frozen=True)
class Gated:
    """act(gate) * up."""

    activation: Callable[[Tensor], Tensor]

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        return self.activation(gate) * up

    def overwrite(self, gate: Tensor, up: Tensor) -> Tensor:
        """The same in the memory of ``gate``."""
        if self.activation in IN_PLACE:
            return IN_PLACE[self.activation](gate).mul_(up)
        return torch.mul(self.activation(gate), up, out=gate)


@dataclass(frozen=True)
class Clamped:
    """gpt-oss: gate · sigmoid(α gate) · (up + 1), gate clamped from above and up on both sides."""

    alpha: float
    limit: float

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.clamp(max=self.limit), up.clamp(min=-self.limit, max=self.limit)
        return (up + 1) * (gate * torch.sigmoid(gate * self.alpha))

    def overwrite(self, gate: Tensor, up: Tensor) -> Tensor:
        """The same in the memory of ``gate``, through that of ``up``."""
        gate.clamp_(max=self.limit)
        swish = (gate * self.alpha).sigmoid_()
        return gate.mul_(swish).mul_(up.clamp_(min=-self.limit, max=self.limit).add_(1))


def _gated(config: Mapping[str, Any]) -> GatedUnit:
    name = config["hidden_act"]
    if name not in ACTIVATIONS:
        raise UserError(f"hidden_act '{name}' is not supported; known are {', '.join(ACTIVATIONS)}")
    return Gated(ACTIVATIONS[name])


def _clamped(config: Mapping[str, Any]) -> GatedUnit:
    return Clamped(config.get("swiglu_alpha", 1.702), config.get("swiglu_limit", 7.0))


UNITS: dict[str, Callable[[Mapping[str, Any]], GatedUnit]] = {"gated": _gated, "clamped": _clamped}


def unit_of(name: str, config: Mapping[str, Any]) -> GatedUnit:
    """The gated unit of a family.

    Args:
        name: of UNITS. config: the text model's part of config.json.

    Raises:
        UserError: ``hidden_act`` is none of the known ones.
    """
    return UNITS[name](config)
