"""The additive statistics of one MoE layer, and the statistics of a mix of sources."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Sums:
    """Sums over the calibration tokens x of one layer, in float64; nothing is averaged before all tokens are in.

    Attributes:
        tokens: number of real tokens.
        count: 1[j in T(x)], the number of tokens routed to each expert.
        norm_sum: 1[j in T(x)] ‖E_j(x)‖ (EAN).
        weighted_norm_sum: 1[j in T(x)] g_j(x) ‖E_j(x)‖ (REAP, Eq. 3).
        released_norm_sum: 1[j in T(x)] softmax(z)_j² ‖E_j(x)‖, as the released REAM code sums.
        output_sum: E_j(x) over all tokens (Eq. 4); NaN where it was not measured, because the method does not need it.
        gated_output_sum: p_j(x) E_j(x) over all tokens (Eq. 8); likewise.
        logit_gram: z(x) z(x)^T (Eq. 5).
    """

    tokens: Float64[np.ndarray, ""]
    count: Float64[np.ndarray, " N"]
    norm_sum: Float64[np.ndarray, " N"]
    weighted_norm_sum: Float64[np.ndarray, " N"]
    released_norm_sum: Float64[np.ndarray, " N"]
    output_sum: Float64[np.ndarray, "N H"]
    gated_output_sum: Float64[np.ndarray, "N H"]
    logit_gram: Float64[np.ndarray, "N N"]

    def __add__(self, other: "Sums") -> "Sums":
        """Sums over the union of two disjoint sets of tokens."""
        arrays, others = self.arrays(), other.arrays()
        return Sums(**{name: np.asarray(arrays[name] + others[name]) for name in arrays})

    def scaled(self, factor: float) -> "Sums":
        """All sums multiplied by a factor."""
        return Sums(**{name: np.asarray(value * factor) for name, value in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def mixed(sums: Mapping[str, Sums], ratios: Mapping[str, float]) -> Sums:
    """Statistics of a mix: sum over sources s of r_s · sums_s / tokens_s (docs/method.md, "Mixing").

    Args:
        sums: statistics of each source; sources with ratio 0 may be missing.
        ratios: r_s of each source, non-negative; they are normalised here to sum to 1.

    Raises:
        ValueError: no ratio is positive, or a source has no tokens.
    """
    positive = {source: ratio for source, ratio in ratios.items() if ratio > 0}
    if not positive:
        raise ValueError("a mix needs at least one positive ratio")
    total: Sums | None = None
    for source, ratio in positive.items():
        tokens = float(sums[source].tokens)
        if tokens <= 0:
            raise ValueError(f"source {source} has no tokens")
        part = sums[source].scaled(ratio / sum(positive.values()) / tokens)
        total = part if total is None else total + part
    assert total is not None
    return total
