"""Sums of experts' outputs from sums of their neurons' activations: Σ E_j(x) = W_down Σ h_j(x) + T b_down."""

import torch
from jaxtyping import Float64
from torch import Tensor

from ream.core.experts import ExpertStack


def output_sums(
    hidden_sums: Float64[Tensor, "N *sums D"], factor_sums: Float64[Tensor, "N *sums"], experts: ExpertStack
) -> Float64[Tensor, "*sums N H"]:
    """The sums over tokens of f(x) E_j(x), with one down projection at a time in float64.

    All take the same memory: a new piece for each may lie behind the small result of the one before, where the C
    library can neither use the freed pieces again nor return them. That kept the size of a layer's down projections in
    float64 in some layers of some runs.

    Args:
        hidden_sums: sums of f(x) h_j(x).
        factor_sums: sums of f(x), by which a bias counts; f is 1 for plain means and p_j for gated ones.
        experts: weights of the N experts.
    """
    down = torch.empty(experts.down.shape[1:], dtype=torch.float64, device=experts.down.device)
    sums = down.new_empty(*hidden_sums.shape[1:-1], len(experts), len(down))
    for index in range(len(experts)):
        expert = experts[index]
        outputs = hidden_sums[index] @ down.copy_(expert.down).T
        if expert.down_bias is not None:
            outputs += factor_sums[index][..., None] * expert.down_bias.double()
        sums[..., index, :] = outputs
    return sums
