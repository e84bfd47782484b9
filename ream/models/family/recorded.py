"""The decision of a MoE block's router, whatever its rule: caught where the block hands it to its experts."""

from typing import Any

import torch
from torch import Tensor


class UnknownDecisionError(ValueError):
    """The block does not hand its experts an input, indices and weights, or its router gives no logits."""


def recorded(block: Any, x: Tensor, experts: str, router: str) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Run a MoE block with its experts left out.

    Args:
        block: of transformers.
        x: [T, H] inputs of the block.
        experts: path of its experts module, which transformers calls with an input, indices and weights.
        router: path of the module whose output are, or begin with, the logits.

    Returns:
        Logits [T, N], weights [T, k] and indices [T, k] of the model's own decision, and the block's output.

    Raises:
        UnknownDecisionError: see there.
    """
    module = block.get_submodule(experts)
    given: list[Tensor] = []
    seen: list[Any] = []

    def record(*positional: Any, **named: Any) -> Tensor:
        given.extend(value for value in (*positional, *named.values()) if isinstance(value, Tensor))
        return torch.zeros_like(given[0])

    hook = block.get_submodule(router).register_forward_hook(lambda _, __, output: seen.append(output))
    module.forward = record
    try:
        output = block(x[None])
    finally:
        del module.forward
        hook.remove()
    weights, indices = _decision(given, type(block).__name__)
    return _logits(seen, len(x), type(block).__name__), weights, indices, output


def _decision(given: list[Tensor], block: str) -> tuple[Tensor, Tensor]:
    """Weights and indices among what the experts were given, each [T, k]."""
    indices = next((value for value in given if value.dtype in (torch.int64, torch.int32)), None)
    if indices is None:
        raise UnknownDecisionError(f"{block} does not hand indices to its experts")
    for value in given[1:]:
        if value.is_floating_point() and value.shape == indices.shape:
            return value.reshape(-1, value.shape[-1]), indices.reshape(-1, indices.shape[-1]).long()
    raise UnknownDecisionError(f"{block} does not hand weights to its experts")


def _logits(seen: list[Any], tokens: int, block: str) -> Tensor:
    """The logits in the router's output: a tensor, or the first of several with a row for each token."""
    for output in seen:
        for value in output if isinstance(output, tuple | list) else (output,):
            if isinstance(value, Tensor) and value.is_floating_point() and value.numel() % tokens == 0:
                return value.reshape(tokens, -1)
    raise UnknownDecisionError(f"the router of {block} gives no logits")
