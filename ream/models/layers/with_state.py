"""MoE blocks whose router is given a state by the router of the layer before, and gives one to the next (Zaya)."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class WithState(nn.Module):
    """Stands for such a block as a function of one tensor; shares its parameters and modules under the same names."""

    def __init__(self, block: nn.Module, state: int) -> None:
        """Args:
        block: of transformers; its ``forward`` takes hidden states and the state.
        state: R, number of values of the state.
        """
        super().__init__()
        self._parameters, self._buffers, self._modules = block._parameters, block._buffers, block._modules
        self._call: Callable[..., Any] = block.forward
        self._state = state

    def forward(self, x: Tensor) -> Any:
        """What the block returns for inputs [B, L, H + R]."""
        hidden, state = x.split([x.shape[-1] - self._state, self._state], -1)
        return self._call(hidden, state)


class _Silent(nn.Module):
    """Stands for an experts module."""

    def forward(self, hidden_states: Tensor, *others: object, **named: object) -> Tensor:
        """Zeros."""
        return torch.zeros_like(hidden_states)


def without_experts(block: nn.Module, experts: str) -> nn.Module:
    """A block that shares all modules but its experts, which give zeros: for the state that its router hands on.

    Args:
        block: of transformers.
        experts: name of its experts module.
    """
    silent = copy.copy(block)
    silent._modules = block._modules | {experts: _Silent()}
    return silent
