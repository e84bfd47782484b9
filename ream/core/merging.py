"""Merging a group of aligned experts into one: the saliency-weighted mean of their weights (Eq. 6)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert


def weighted_mean(tensors: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
    """Sum of w_j · tensor_j in float32, cast to the first tensor's dtype. The weights sum to 1."""
    total = torch.zeros(tensors[0].shape, dtype=torch.float32, device=tensors[0].device)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.float(), alpha=float(weight))
    return total.to(tensors[0].dtype)


def merged(members: Sequence[Expert], weights: Sequence[float], permutations: Sequence[Tensor | None]) -> Expert:
    """One expert for a group.

    Args:
        members: experts of the group; the merged one takes the first one's dtype.
        weights: of each member, summing to 1 (grouping.merge_weights).
        permutations: of each member's neurons, [D]; None leaves them as they are (the centroid).
    """
    aligned = [
        member if permutation is None else member.permuted(permutation)
        for member, permutation in zip(members, permutations, strict=True)
    ]
    return Expert(
        gate=weighted_mean([expert.gate for expert in aligned], weights),
        up=weighted_mean([expert.up for expert in aligned], weights),
        down=weighted_mean([expert.down for expert in aligned], weights),
    )
