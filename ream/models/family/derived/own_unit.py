"""The unit of transformers' experts module, called as the module itself calls it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ream.models.family.derived.place import place_of
from ream.models.family.derived.weightless import parsed, shortest


@dataclass(frozen=True)
class OwnUnit:
    """The ``_apply_gate`` of an experts module.

    Attributes:
        experts: the module; its weights are not used.
    """

    experts: Any

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """Neuron activations; the arguments stay as they are."""
        alternating = getattr(self.experts, "is_concatenated", True) is False
        joined = torch.stack([gate, up], -1).flatten(-2) if alternating else torch.cat([gate, up], -1)
        activations: Tensor = self.experts._apply_gate(joined)
        return activations


@dataclass(frozen=True)
class OwnActivation:
    """The ``act_fn`` of an experts module without a gate.

    Attributes:
        experts: the module; its weights are not used.
    """

    experts: Any

    def __call__(self, up: Tensor) -> Tensor:
        """Neuron activations; the argument stays as it is."""
        activations: Tensor = self.experts.act_fn(up)
        return activations


def has_gate(experts: Any) -> bool:
    """Whether the experts of a module have a gate beside their up projection."""
    return hasattr(experts, "gate_up_proj") or not hasattr(experts, "up_proj")


def own_unit(numbers: Mapping[str, Any]) -> OwnUnit | OwnActivation:
    """The unit of the experts module that transformers builds from the text model's part of a config.json."""
    _, text = shortest(parsed(numbers))
    experts = place_of(text).experts_of(text)
    return OwnUnit(experts) if has_gate(experts) else OwnActivation(experts)
