"""Routers and experts that lie in a decoder layer itself, with no MoE block around them, and get different inputs.

Gemma-4 is the example: its router is given the residual, and its experts that residual behind a norm. Together they are
taken for a block whose input has both, side by side: [..., 2H], the experts' H values first.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ream.models.layers.apart import Apart
from ream.models.layers.with_ids import WithIds
from ream.models.layers.with_state import WithState


class RouterAndExperts(nn.Module):
    """Stands for the block that the layer does not have."""

    def __init__(self, layer: nn.Module, apart: Apart, experts: str) -> None:
        """Share the modules of a layer.

        Args:
            layer: of transformers.
            apart: where its router is.
            experts: name of its experts module.
        """
        super().__init__()
        self.add_module(apart.router, layer.get_submodule(apart.router))
        self.add_module(experts, layer.get_submodule(experts))
        self._apart, self._experts = apart, experts

    def forward(self, x: Tensor) -> Tensor:
        """MoE output [T, H] for inputs [..., 2H] of T tokens."""
        inputs, asked = x.reshape(-1, x.shape[-1]).chunk(2, -1)
        answer: Any = self.get_submodule(self._apart.router)(asked)
        given = [answer[position] for position in self._apart.handed]
        output: Tensor = self.get_submodule(self._experts)(inputs, *given)
        return output


def block_in(layer: nn.Module, path: str, apart: Apart | None, experts: str, state: int = 0) -> nn.Module:
    """The MoE block of a layer, or what stands for it: a function of one tensor.

    Args:
        layer: of transformers.
        path: of the block; "" where the layer has none.
        apart: where the router is then.
        experts: name of the experts module within the block.
        state: number of values that its router is given by the layer before.
    """
    return block_within(layer.get_submodule(path), apart, experts, state)


def block_within(module: nn.Module, apart: Apart | None, experts: str, state: int = 0) -> nn.Module:
    """A MoE block of transformers, or what stands for that of a layer: a function of one tensor.

    Args:
        module: a block, or a layer without one.
        apart: where the layer's router is then.
        experts: name of the experts module.
        state: number of values that its router is given by the layer before.
    """
    if apart is not None:
        return RouterAndExperts(module, apart, experts)
    if state:
        return WithState(module, state)
    return WithIds(module) if "input_ids" in inspect.signature(module.forward).parameters else module


class AskedRouter(nn.Module):
    """Stands in for such a router: keeps its input and decides nothing."""

    def __init__(self, outputs: int) -> None:
        """Args:
        outputs: number of values that the layer expects.
        """
        super().__init__()
        self.asked: Tensor | None = None
        self._outputs = outputs

    def forward(self, hidden_states: Tensor, *others: object, **named: object) -> Sequence[Tensor]:
        """As many tensors as the router returns; nothing looks into them."""
        self.asked = hidden_states
        return [hidden_states] * self._outputs


def both(inputs: Tensor, asked: Tensor) -> Tensor:
    """The experts' input and the router's, side by side: [T, 2H]."""
    flat = inputs.reshape(-1, inputs.shape[-1])
    return torch.cat([flat, asked.reshape(flat.shape).to(flat)], -1)
