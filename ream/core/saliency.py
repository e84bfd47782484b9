"""Saliency: how much of a layer's output each expert is responsible for."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from ream.core.composition import SaliencyKind
from ream.core.sums import Sums


def frequency(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Number of tokens routed to each expert (Eq. 2)."""
    return sums.count


def ean(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Sum of the norms of each expert's routed outputs (expert activation norm, EAN, arXiv 2504.05586)."""
    return sums.norm_sum


def reap(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Mean gated norm over the tokens routed to an expert (REAP, arXiv 2510.13999; Eq. 3); 0 for an unused expert."""
    return _mean(sums.weighted_norm_sum, sums.count)


def released(sums: Sums) -> Float64[np.ndarray, " N"]:
    """REAP as the released REAM code computes it: the softmax gate is squared, without top-k renormalisation."""
    return _mean(sums.released_norm_sum, sums.count)


def _mean(total: Float64[np.ndarray, " N"], count: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """total / count, 0 where the count is 0."""
    mean: np.ndarray = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean


SALIENCIES: dict[SaliencyKind, Callable[[Sums], Float64[np.ndarray, " N"]]] = {
    "frequency": frequency,
    "ean": ean,
    "reap": reap,
    "released": released,
}


def ranked(saliency: Float64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Expert indices by decreasing saliency; ties go to the lower index."""
    return np.argsort(-saliency, kind="stable")
