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


def released_batches(sums: Sums) -> Float64[np.ndarray, " N"]:
    """As ``released``, but the mean over batches of the means of their tokens, as the released code has it.

    The sequences are taken in order, in batches of ``statistics.saliency_batch``; a batch in which an expert is not
    routed counts as 0.

    Raises:
        ValueError: the sums are not settled (`ream.core.sums.settled`), or have no batches.
    """
    if sums.batch_mean_sum is None:
        raise ValueError("means of batch means need settled sums that were measured in batches")
    mean: np.ndarray = sums.batch_mean_sum / sums.tokens
    return mean


def man(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Mean activation norm: the mean of ‖E_j(x)‖ over the tokens routed to an expert (MAN, arXiv 2606.15716)."""
    return _mean(sums.norm_sum, sums.count)


def msan(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Mean squared activation norm: the mean of ‖E_j(x)‖² over routed tokens (MSAN, arXiv 2606.15716).

    Raises:
        ValueError: the squares were not measured.
    """
    if sums.squared_norm_sum is None:
        raise ValueError("msan needs sums of squared norms")
    return _mean(sums.squared_norm_sum, sums.count)


def energy(sums: Sums) -> Float64[np.ndarray, " N"]:
    """Sum of (g_j(x) ‖E_j(x)‖)² over routed tokens: what a layer's squared output loses first without an expert.

    Not from the literature. It is the diagonal of what HOPE (arXiv 2609.18916) sums over pairs of experts.

    Raises:
        ValueError: pairs were not measured.
    """
    if sums.pair_sum is None:
        raise ValueError("energy needs sums over pairs of experts")
    return sums.pair_sum.diagonal().copy()


def raised(saliency: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """The saliencies with zeros raised to min(0.5, the smallest other one), as in REAM's released code.

    An expert that was never used then enters its group's mean. Where all are zero, they stay.
    """
    positive = saliency[saliency > 0]
    if not len(positive):
        return saliency
    lifted: np.ndarray = np.where(saliency == 0, min(0.5, positive.min()), saliency)
    return lifted


def available(sums: Sums) -> dict[SaliencyKind, Float64[np.ndarray, " N"]]:
    """The saliencies of all kinds whose sums exist; those of sums that were not measured are NaN or absent.

    Args:
        sums: settled, or of a mix.
    """
    absent = {kind for kind, field in OPTIONAL.items() if getattr(sums, field) is None}
    return {kind: saliency(sums) for kind, saliency in SALIENCIES.items() if kind not in absent}


def _mean(total: Float64[np.ndarray, " N"], count: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """total / count, 0 where the count is 0."""
    mean: np.ndarray = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean


SALIENCIES: dict[SaliencyKind, Callable[[Sums], Float64[np.ndarray, " N"]]] = {
    "frequency": frequency,
    "ean": ean,
    "reap": reap,
    "released": released,
    "released-batches": released_batches,
    "man": man,
    "msan": msan,
    "energy": energy,
}
# The sums that exist only where a method needs them.
OPTIONAL: dict[SaliencyKind, str] = {
    "released-batches": "batch_mean_sum",
    "msan": "squared_norm_sum",
    "energy": "pair_sum",
}


def ranked(saliency: Float64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Expert indices by decreasing saliency; ties go to the lower index."""
    return np.argsort(-saliency, kind="stable")
