"""Saliency: how much of a layer's output each expert is responsible for."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from ream.core.sums import Sums


def frequency(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Tokens routed to each expert (Eq. 2)."""
    return sums.count


def ean(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Expert activation norm: summed norms of the routed outputs (EAN, arXiv 2504.05586)."""
    return sums.norm_sum


def reap(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Mean gated norm over the tokens routed to the expert (REAP, arXiv 2510.13999; Eq. 3); 0 for one never used."""
    return _mean(sums.weighted_norm_sum, sums.count)


def released(sums: Sums) -> Float64[np.ndarray, " N"]:
    """What the released REAM code computes: the softmax gate enters squared, without top-k renormalisation."""
    return _mean(sums.released_norm_sum, sums.count)


def _mean(total: Float64[np.ndarray, " N"], count: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


SALIENCIES: dict[str, Callable[[Sums], Float64[np.ndarray, " N"]]] = {
    "frequency": frequency,
    "ean": ean,
    "reap": reap,
    "released": released,
}


def ranked(saliency: Float64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Expert indices by decreasing saliency; ties go to the lower index."""
    return np.argsort(-saliency, kind="stable")
