"""What a MoE block's router decides on random inputs, caught where it hands its decision to the experts."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import one_line
from ream.models.family.derived.place import Place
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.recorded import recorded

TOKENS = 96


@dataclass(frozen=True)
class Probe:
    """A router's decision on T tokens.

    Attributes:
        x: [T, H] inputs of the block; [T, 2H] where its router has others.
        logits: [T, N].
        indices: [T, k] selected experts.
        weights: [T, k] of their outputs.
        pair: whether the block returns its output and something else.
    """

    x: Tensor
    logits: Tensor
    indices: Tensor
    weights: Tensor
    pair: bool


def probed(block: Any, place: Place, router: str, hidden: int) -> Probe:
    """Run a MoE block without its experts.

    Args:
        block: on the meta device for shapes alone, or given values by `given_values`.
        place: of the experts.
        router: path within the block of the module that gives logits.
        hidden: H.

    Raises:
        NotDerivableError: the block does not run on hidden states alone, or hands its experts no indices and weights.
    """
    matrix = next(tensor for tensor in block.get_submodule(router).parameters() if tensor.dim() == 2)
    width = place.input_width(hidden)
    x = torch.randn(TOKENS, width, generator=torch.Generator().manual_seed(1)).to(matrix.device, matrix.dtype)
    try:
        with torch.no_grad():
            logits, weights, indices, output = recorded(block, x, place.experts, router)
    except PROBED as error:
        raise NotDerivableError(
            f"its {type(block).__name__} cannot be asked for its decisions: {one_line(error)}"
        ) from error
    return Probe(x, logits, indices, weights, isinstance(output, tuple))


def given_values(module: nn.Module, stacks: nn.Module, experts: int, seed: int = 0) -> None:
    """Give a module random values in float32 where it has none, except to the stacks of its experts module.

    The values let routers discriminate: their logits are of the size of 1, and biases of the size of their gaps.

    Args:
        module: a MoE block or a layer on the meta device.
        stacks: the experts module in it.
        experts: N.
        seed: of the values.
    """
    generator = torch.Generator().manual_seed(seed)
    for owner in module.modules():
        for name, tensor in [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]:
            if not tensor.is_meta or (owner is stacks and tensor.dim() > 1):
                continue
            values = _values(tensor, experts, generator, "bias" in name)
            if isinstance(tensor, nn.Parameter):
                setattr(owner, name, nn.Parameter(values, requires_grad=False))
            else:
                owner.register_buffer(name, values)


def give_own_values(module: nn.Module) -> None:
    """Give the parameters that a module on the meta device has itself, without those of modules in it, values of 1."""
    for name, parameter in module.named_parameters(recurse=False):
        setattr(module, name, nn.Parameter(torch.ones(parameter.shape), requires_grad=False))


def _values(tensor: Tensor, experts: int, generator: torch.Generator, bias: bool) -> Tensor:
    """Random values for a tensor, about 1 for vectors that are no biases; of large ones the first are repeated."""
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    count, drawn = tensor.numel(), min(tensor.numel(), 9_999_991)
    values: Tensor = torch.randn(drawn, generator=generator)
    values = values.repeat(-(-count // max(drawn, 1)))[:count].reshape(tensor.shape)
    matrix, vector = tensor.dim() > 1 and min(tensor.shape) > 1, experts not in tensor.shape
    scale, middle = (tensor.shape[-1] ** -0.5, 0.0) if matrix else (0.1, float(vector and not bias))
    return values.mul(scale).add(middle)
