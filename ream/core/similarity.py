"""Similarity of experts from the additive statistics: symmetric [N, N], in [0, 1], 1 on the diagonal."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from ream.core.composition import SimilarityKind
from ream.core.sums import Sums


def gate_logits(sums: Sums) -> Float64[np.ndarray, "N N"]:
    """Similarity of gate logits over the calibration tokens (Eq. 5): 1 − D_ij / max D.

    D_ij is the Euclidean distance of the L2-normalised logit vectors z_i, z_j over X, sqrt(2 − 2 cos), with the cosine
    from the Gram matrix. Where all experts have parallel logits (max D = 0) every similarity is 1.
    """
    distance = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * _cosine(sums.logit_gram)))
    distance[distance < 1e-6] = 0.0  # parallel up to rounding: a cosine of 1 − 1e-16 would be a distance of 1e-8
    np.fill_diagonal(distance, 0.0)
    largest = distance.max()
    return 1.0 - distance / largest if largest > 0 else np.ones_like(distance)


def output(sums: Sums) -> Float64[np.ndarray, "N N"]:
    """(1 + cos) / 2 of the mean expert outputs (Eq. 4).

    The cosine of the means, not the mean of cosines: a positive gate would cancel out of a per-token cosine.
    """
    return _cosine_similarity(sums.output_sum)


def gated_output(sums: Sums) -> Float64[np.ndarray, "N N"]:
    """(1 + cos) / 2 of the mean gated expert outputs (Eq. 8)."""
    return _cosine_similarity(sums.gated_output_sum)


SIMILARITIES: dict[SimilarityKind, Callable[[Sums], Float64[np.ndarray, "N N"]]] = {
    "gate-logits": gate_logits,
    "output": output,
    "gated-output": gated_output,
}


def similarity(kinds: Sequence[SimilarityKind], sums: Sums) -> Float64[np.ndarray, "N N"]:
    """Mean of the named similarities; REAM's (Eq. 7) is that of gate-logits and gated-output."""
    mean: np.ndarray = np.mean([SIMILARITIES[kind](sums) for kind in kinds], axis=0)
    return mean


def output_means(kind: SimilarityKind, sums: Sums) -> Float64[np.ndarray, "N H"]:
    """Mean outputs per token, for hierarchical clustering.

    Args:
        kind: ``output`` or ``gated-output``.
        sums: statistics of the layer.

    Raises:
        KeyError: another kind.
    """
    totals = {"output": sums.output_sum, "gated-output": sums.gated_output_sum}
    means: np.ndarray = totals[kind] / sums.tokens
    return means


def _cosine_similarity(vectors: Float64[np.ndarray, "N H"]) -> Float64[np.ndarray, "N N"]:
    """(1 + cos) / 2 of every pair of vectors; exactly 1 on the diagonal, of zero vectors, too."""
    result = (1.0 + _cosine(vectors @ vectors.T)) / 2.0
    np.fill_diagonal(result, 1.0)
    return result


def _cosine(gram: Float64[np.ndarray, "N N"]) -> Float64[np.ndarray, "N N"]:
    """Cosines from a Gram matrix; a zero vector has cosine 0 with every other."""
    norms = np.sqrt(np.diagonal(gram))
    scale = np.outer(norms, norms)
    cosine = np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0)
    clipped: np.ndarray = np.clip(cosine, -1.0, 1.0)
    return clipped
