"""Merging a group of aligned experts into one: the saliency-weighted mean of their weights (Eq. 6)."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ream.core.experts import Expert, expert_of, parts


def merged(members: Iterable[Expert], weights: Sequence[float], permutations: Sequence[Tensor | None]) -> Expert:
    """One expert for a group: sum of w_j · tensor_j in float32, with one member in memory at a time.

    Args:
        members: experts of the group; the merged expert has the dtype of the first.
        weights: weight of each member, summing to 1 (grouping.merge_weights).
        permutations: order of each member's neurons, [D] int64; None leaves them as they are (the centroid).

    Raises:
        ValueError: the three have different lengths.
    """
    totals: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for member, weight, permutation in zip(members, weights, permutations, strict=True):
        aligned = member if permutation is None else member.permuted(permutation)
        for name, tensor in parts(aligned):
            if name in totals:
                totals[name].add_(tensor.float(), alpha=float(weight))
            else:  # not 0 + …, which would turn the −0.0 of a lone expert into 0.0
                totals[name], dtypes[name] = tensor.float() * float(weight), tensor.dtype
    return expert_of({name: total.to(dtypes[name]) for name, total in totals.items()})
