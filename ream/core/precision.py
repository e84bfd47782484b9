"""How precise similarities are whose means of outputs come from a sample of tokens.

The deviations of `ream.core.sums.settled` say how the sums vary, with all that varies together: the coordinates of an
output, and the outputs of two experts on the same tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64

from ream.core.composition import SimilarityKind
from ream.core.grouping import Groups
from ream.core.similarity import similarity
from ream.core.sums import Sums


def is_sampled(sums: Sums) -> bool:
    """Whether a sample gave the means of outputs."""
    return sums.output_deviations is not None or sums.gated_output_deviations is not None


def moved(sums: Sums, steps: Float64[np.ndarray, " B"]) -> Sums:
    """The sums with their outputs moved by so many times each of their deviations.

    With steps of a normal distribution this draws the sums from the distribution of what samples of this size give.

    Args:
        sums: settled, or of a mix.
        steps: of each block.
    """
    changes = {}
    for kind in ("output", "gated_output"):
        deviations = getattr(sums, f"{kind}_deviations")
        if deviations is not None:
            changes[f"{kind}_sum"] = getattr(sums, f"{kind}_sum") + np.tensordot(steps, deviations, axes=1)
    return replace(sums, **changes)


def standard_errors(kinds: Sequence[SimilarityKind], sums: Sums) -> Float64[np.ndarray, "N N"]:
    """The standard error of every similarity: √ Σ_b (S moved by deviation b − S)²; 0 where nothing was sampled.

    Args:
        kinds: terms of the similarity.
        sums: settled, or of a mix.
    """
    centre = similarity(kinds, sums)
    squares = np.zeros_like(centre)
    deviations = sums.output_deviations if sums.output_deviations is not None else sums.gated_output_deviations
    for steps in np.eye(0 if deviations is None else len(deviations)):
        squares += (similarity(kinds, moved(sums, steps)) - centre) ** 2
    errors: np.ndarray = np.sqrt(squares)
    return errors


def compared(groups: Groups) -> Bool[np.ndarray, "N N"]:
    """The pairs whose similarities decide on the groups: of a kept expert and one that is absorbed.

    Args:
        groups: of a grouping whose centroids are kept for their saliency.
    """
    kept = np.zeros(len(groups.group), dtype=bool)
    kept[groups.kept] = True
    return kept[:, None] & ~kept[None, :]
