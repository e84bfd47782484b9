"""What a MoE block does around its experts: what it hands them, and what becomes of their outputs.

Most blocks hand their experts the hidden states as they are, and add up the experts' outputs. Some project hidden
states to a latent space before the experts and back behind them (Nemotron-H), or multiply the sum by a factor.
"""

from typing import Any

import torch
from torch import Tensor

from ream.models.family.recorded import UnknownDecisionError

CLOSE = 1e-3  # of the largest value, in the dtype of the block


class NotLinearError(ValueError):
    """The block's output does not depend linearly on what its experts give."""


def inputs_and_output(block: Any, x: Tensor, experts: str, answer: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a MoE block with something else in the place of its experts.

    Args:
        block: of transformers.
        x: [T, H] inputs of the block.
        experts: path of its experts module.
        answer: [T, E] what the experts give; zeros where None.

    Returns:
        The experts' inputs [T, E], and the block's output [T, H].

    Raises:
        UnknownDecisionError: the block hands its experts no input with a row for each token.
    """
    module, given = block.get_submodule(experts), list[Tensor]()

    def record(*positional: Any, **named: Any) -> Tensor:
        first = next(value for value in (*positional, *named.values()) if isinstance(value, Tensor))
        given.append(first)
        return torch.zeros_like(first) if answer is None else answer.to(first).reshape(first.shape)

    module.forward = record
    try:
        result = block(x[None])
    finally:
        del module.forward
    output: Tensor = result[0] if isinstance(result, tuple) else result
    if len(given) != 1 or given[0].numel() % len(x):
        raise UnknownDecisionError(f"{type(block).__name__} does not hand hidden states to its experts")
    return given[0].reshape(len(x), -1), output.reshape(len(x), -1)


class _Reached(Exception):  # noqa: N818 - no error: it leaves the block's forward at its experts
    pass


def inputs_alone(block: Any, x: Tensor, experts: str) -> Tensor:
    """The experts' inputs [T, E], as `inputs_and_output` gives them; the block is left where it hands them over."""
    module, given = block.get_submodule(experts), list[Tensor]()

    def reach(*positional: Any, **named: Any) -> Tensor:
        given.append(next(value for value in (*positional, *named.values()) if isinstance(value, Tensor)))
        raise _Reached

    module.forward = reach
    try:
        block(x[None])
    except _Reached:
        pass
    finally:
        del module.forward
    return given[0].reshape(len(x), -1)


@torch.no_grad()
def output_map(block: Any, hidden: int, experts: str) -> Tensor:
    """[H, E]: the matrix by which a block multiplies the weighted sum of its experts' outputs, in float32.

    Args:
        block: of transformers, with its weights.
        hidden: H.
        experts: path of its experts module.

    Raises:
        NotLinearError: there is no such matrix.
    """
    like = next(block.parameters())
    probe = torch.zeros(1, hidden, dtype=like.dtype, device=like.device)
    width = inputs_and_output(block, probe, experts)[0].shape[1]
    drawn = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).to(probe)
    answers = torch.cat([torch.eye(width, dtype=probe.dtype, device=probe.device), drawn])
    x = probe.expand(len(answers), -1)
    without = inputs_and_output(block, x, experts)[1].float()
    moved = inputs_and_output(block, x, experts, answers)[1].float() - without
    matrix, expected = moved[:-1].T.contiguous(), moved[-1]
    precision = max(CLOSE, 8 * torch.finfo(probe.dtype).eps)
    if not float((matrix @ drawn[0].float() - expected).abs().max()) <= precision * float(expected.abs().max()) * 4:
        raise NotLinearError(f"the output of {type(block).__name__} is no linear function of what its experts give")
    return matrix
