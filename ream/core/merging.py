"""Merging a group of aligned experts into one: the saliency-weighted mean of their weights (Eq. 6)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert, parts


def weighted_mean(tensors: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
    """Sum of w_j · tensor_j in float32, cast to the first tensor's dtype. The weights sum to 1."""
    total = tensors[0].float() * float(weights[0])  # not 0 + …, which would turn the −0.0 of a lone expert into 0.0
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
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
    tensors = [dict(parts(expert)) for expert in aligned]
    return Expert(**{name: weighted_mean([each[name] for each in tensors], weights) for name in tensors[0]})
