"""The additive statistics of one MoE layer, what a sample of tokens tells of them, and the statistics of a mix."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float, Float64


@dataclass(frozen=True)
class Sums:
    """Sums over the calibration tokens x of one layer, in float64; nothing is averaged before all tokens are in.

    Attributes:
        tokens: number of real tokens.
        count: 1[j in T(x)], the number of tokens routed to each expert.
        norm_sum: 1[j in T(x)] ‖E_j(x)‖ (EAN).
        weighted_norm_sum: 1[j in T(x)] g_j(x) ‖E_j(x)‖ (REAP, Eq. 3).
        released_norm_sum: 1[j in T(x)] softmax(z)_j² ‖E_j(x)‖, as the released REAM code sums.
        output_sum: E_j(x) over all tokens (Eq. 4); NaN where it was not measured, because the method does not need it,
            or was measured in a sample.
        gated_output_sum: p_j(x) E_j(x) over all tokens (Eq. 8); likewise.
        logit_gram: z(x) z(x)^T (Eq. 5).
        sample_tokens: number of tokens of each block of a sample (`ream.core.output_sample`).
        output_parts: E_j(x) over the tokens of each block.
        gated_output_parts: p_j(x) E_j(x) over the tokens of each block.
        output_deviations: of ``output_sum`` where a sample gave it: the sum over blocks of their products is the
            covariance of its errors (`settled`).
        gated_output_deviations: of ``gated_output_sum``.
        squared_norm_sum: 1[j in T(x)] ‖E_j(x)‖² (MSAN); None where it was not measured.
        batch_count: 1[j in T(x)] over the tokens of each of G batches of sequences, which are counted over the whole
            source; a shard or rank has zeros for the sequences that it does not see. None where not measured.
        batch_norm_sum: 1[j in T(x)] softmax(z)_j² ‖E_j(x)‖ likewise.
        power_norm_sum: 1[j in T(x)] ‖E_j(x)‖³² (`ream.core.super_experts`); None where it was not measured.
        pair_count: 1[i in T(x)] 1[j in T(x)], the number of tokens routed to both experts; None where not measured.
        pair_sum: 1[i in T(x)] 1[j in T(x)] a_i(x) a_j(x), a_j(x) = g_j(x) ‖E_j(x)‖ (HOPE); likewise.
        batch_mean_sum: ``tokens`` times the mean over batches of batch_norm_sum / batch_count (`settled`).
    """

    tokens: Float64[np.ndarray, ""]
    count: Float64[np.ndarray, " N"]
    norm_sum: Float64[np.ndarray, " N"]
    weighted_norm_sum: Float64[np.ndarray, " N"]
    released_norm_sum: Float64[np.ndarray, " N"]
    output_sum: Float64[np.ndarray, "N H"]
    gated_output_sum: Float64[np.ndarray, "N H"]
    logit_gram: Float64[np.ndarray, "N N"]
    sample_tokens: Float64[np.ndarray, " B"] | None = None
    output_parts: Float[np.ndarray, "B N H"] | None = None
    gated_output_parts: Float[np.ndarray, "B N H"] | None = None
    output_deviations: Float[np.ndarray, "B N H"] | None = None
    gated_output_deviations: Float[np.ndarray, "B N H"] | None = None
    squared_norm_sum: Float64[np.ndarray, " N"] | None = None
    power_norm_sum: Float64[np.ndarray, " N"] | None = None
    pair_count: Float64[np.ndarray, "N N"] | None = None
    pair_sum: Float64[np.ndarray, "N N"] | None = None
    batch_count: Float64[np.ndarray, "G N"] | None = None
    batch_norm_sum: Float64[np.ndarray, "G N"] | None = None
    batch_mean_sum: Float64[np.ndarray, " N"] | None = None

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> "Sums":
        """The sums among named arrays."""
        names = (field.name for field in fields(Sums))
        return Sums(**{name: np.asarray(arrays[name]) for name in names if name in arrays})

    def __add__(self, other: "Sums") -> "Sums":
        """Sums over the union of two disjoint sets of tokens.

        Raises:
            ValueError: the outputs of one were measured in a sample, and those of the other were not.
        """
        if (self.sample_tokens is None) != (other.sample_tokens is None):
            raise ValueError("a sample of outputs can be added to another sample alone")
        arrays, others = self.arrays(), other.arrays()
        total = {name: np.asarray(arrays[name] + others[name]) for name in arrays if name in others}
        return Sums.of(arrays | others | total)  # sums without deviations are exact

    def scaled(self, factor: float) -> "Sums":
        """All sums multiplied by a factor."""
        return Sums(**{name: np.asarray(value * factor) for name, value in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, in the order of the fields, without those of a sample where there is none."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}


def enough_sampled(sample_tokens: Float64[np.ndarray, " B"]) -> bool:
    """Whether a sample with so many tokens in each of its blocks has a mean with a standard error."""
    return bool((sample_tokens > 0).sum() >= 2)


def mean_of_batch_means(
    count: Float64[np.ndarray, "G N"], norm_sum: Float64[np.ndarray, "G N"]
) -> Float64[np.ndarray, " N"]:
    """(1/G) Σ_b norm_sum_b / count_b over all G batches; a batch in which an expert was not routed counts as 0."""
    means: np.ndarray = np.divide(norm_sum, count, out=np.zeros_like(norm_sum), where=count > 0).mean(axis=0)
    return means


def settled(sums: Sums) -> Sums:
    """The sums of all tokens of a source, with what is no plain sum over tokens in its final form.

    Batches become T times the mean of their means. Outputs that a sample of n of T tokens gave become T times its mean,
    with deviations.

    A sum's deviation at block b is T · √((B − 1) / B) · √(1 − n / T) · (m_b − m̄), where m_b is the mean without that
    block and m̄ the mean of these: the jackknife, with the factor for a sample of a finite number of tokens, whose error
    vanishes as n reaches T.

    Raises:
        ValueError: fewer than two blocks have tokens.
    """
    if sums.batch_count is not None and sums.batch_norm_sum is not None:
        means = mean_of_batch_means(sums.batch_count, sums.batch_norm_sum)
        sums = replace(sums, batch_count=None, batch_norm_sum=None, batch_mean_sum=means * sums.tokens)
    if sums.sample_tokens is None:
        return sums
    counts, total = sums.sample_tokens, float(sums.tokens)
    size, blocks = float(counts.sum()), len(counts)
    if not enough_sampled(counts):
        raise ValueError("a sample needs tokens in two of its blocks at least")
    scale = np.sqrt((blocks - 1) / blocks * max(0.0, 1.0 - size / total)) * total
    settled_arrays = {}
    for kind in ("output", "gated_output"):
        parts = getattr(sums, f"{kind}_parts")
        if parts is None:
            continue
        whole = parts.sum(axis=0, dtype=np.float64)
        without = (whole - parts) / (size - counts)[:, None, None]
        settled_arrays[f"{kind}_sum"] = whole * (total / size)
        settled_arrays[f"{kind}_deviations"] = (scale * (without - without.mean(axis=0))).astype(np.float32)
    known = {name: array for name, array in sums.arrays().items() if "parts" not in name and name != "sample_tokens"}
    return Sums.of(known | settled_arrays)


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
        part = settled(sums[source]).scaled(ratio / sum(positive.values()) / tokens)
        total = part if total is None else total + part
    assert total is not None
    return total
