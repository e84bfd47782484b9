"""Super experts: the few experts of a model whose outputs are larger than those of all others by far.

Pruning one of them ruins a model, whatever its mean saliency ("Unveiling Super Experts in Mixture-of-Experts Large
Language Models", arXiv 2507.23279). With a the largest output of each expert of each layer, an expert is a super
expert if a is above the 99.5th percentile of all of them and above a tenth of the largest (there, section 3). REAP's
released code has them as an option.

There, an output's size is its largest entry; here it is its norm ‖E_j(x)‖, which is what REAP and the other criteria
measure. A maximum does not add up over shards and sources, but a sum of high powers does: (sum ‖E_j(x)‖³²)^(1/32) is at
least the maximum, and at most T^(1/32) times it, 1.5 for 400,000 tokens.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64

from ream.core.sums import Sums

POWER = 32
PERCENTILE, TIMES = 99.5, 10.0


def peak_norms(sums: Sums) -> Float64[np.ndarray, " N"]:
    """About the largest ‖E_j(x)‖ of each expert; 0 for an expert without tokens.

    In the sums of a mix a source counts by its ratio, which changes the result of all experts by one factor near 1.

    Raises:
        ValueError: it was not measured.
    """
    if sums.power_norm_sum is None:
        raise ValueError("super experts need sums of powers of norms")
    peaks: np.ndarray = sums.power_norm_sum ** (1.0 / POWER)
    return peaks


def super_experts(peaks: Mapping[int, Float64[np.ndarray, " N"]]) -> dict[int, Bool[np.ndarray, " N"]]:
    """Marks the super experts of each layer, by its index.

    Args:
        peaks: of all layers of a model (`peak_norms`).
    """
    every = np.concatenate([*peaks.values()])
    threshold, largest = np.percentile(every, PERCENTILE), every.max()
    return {index: (layer > threshold) & (layer > largest / TIMES) for index, layer in peaks.items()}


def protected(saliency: Float64[np.ndarray, " N"], stay: Bool[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """The saliency by which experts are ranked where some stay in any case; among these the order is the same."""
    above = saliency.max(initial=0.0) + 1.0
    lifted: np.ndarray = np.where(stay, above + saliency, saliency)
    return lifted
