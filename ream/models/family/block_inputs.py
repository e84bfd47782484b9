"""What the inputs of a MoE block hold: hidden states and, of some families, what its router needs beside them."""

from torch import Tensor

from ream.models.family.family import Family
from ream.models.layers.token_ids import DIGITS


def input_width(family: Family, hidden: int) -> int:
    """Number of values of an input of the block; ``hidden`` is H, those of them that are given to the experts."""
    return (hidden if family.apart is None else 2 * hidden) + family.state + (DIGITS if family.by_ids else 0)


def expert_inputs(family: Family, x: Tensor) -> Tensor:
    """[..., H]: what the experts are given, of inputs of the block."""
    inputs = x[..., :-DIGITS] if family.by_ids else x
    inputs = inputs[..., : -family.state] if family.state else inputs
    return inputs[..., : inputs.shape[-1] // 2] if family.apart is not None else inputs
