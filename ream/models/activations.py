"""What an expert's neurons compute, by config.json and without importing transformers (5 s): for stages that run no
model."""

from collections.abc import Callable, Mapping
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


def _gated(config: Mapping[str, Any]) -> GatedUnit:
    """act(gate) * up."""
    name = config["hidden_act"]
    if name not in ACTIVATIONS:
        raise UserError(f"hidden_act '{name}' is not supported; known are {', '.join(ACTIVATIONS)}")
    activation = ACTIVATIONS[name]
    return lambda gate, up: activation(gate) * up


def _clamped(config: Mapping[str, Any]) -> GatedUnit:
    """gpt-oss: gate · sigmoid(α gate) · (up + 1), gate clamped from above and up on both sides."""
    alpha, limit = config.get("swiglu_alpha", 1.702), config.get("swiglu_limit", 7.0)

    def unit(gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.clamp(max=limit), up.clamp(min=-limit, max=limit)
        return (up + 1) * (gate * torch.sigmoid(gate * alpha))

    return unit


UNITS: dict[str, Callable[[Mapping[str, Any]], GatedUnit]] = {"gated": _gated, "clamped": _clamped}


def unit_of(name: str, config: Mapping[str, Any]) -> GatedUnit:
    """The gated unit of a family.

    Args:
        name: of UNITS. config: the text model's part of config.json.

    Raises:
        UserError: ``hidden_act`` is none of the known ones.
    """
    return UNITS[name](config)
