"""Activation functions by their config name, without importing transformers (5 s): for stages that run no model."""

import torch
from torch.nn import functional

from ream.core.experts import Activation
from ream.errors import UserError


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Activation] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": functional.relu,
}


def activation_of(name: str) -> Activation:
    """The function that config.json's ``hidden_act`` names.

    Raises:
        UserError: it is none of the known ones.
    """
    if name not in ACTIVATIONS:
        raise UserError(f"hidden_act '{name}' is not supported; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
