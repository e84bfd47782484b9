"""What is chosen by the error on held-out sequences: the candidate of a layer (docs/refit.md, "best")."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor


def fraction_left(errors: Float64[Tensor, " S"], before: Float64[Tensor, " S"]) -> float:
    """The geometric mean over sources of the fraction of the plain method's squared error that is left.

    It counts a source by how much better it becomes, however much of its error could be taken back: halving an error
    that is small already counts as much as halving a large one. A mean of fractions, or of errors, would be decided by
    the source that gains least.

    A source whose error was 0 counts as 1 where it still is 0, and makes the mean infinite where it is not.

    Args:
        errors: squared error on the held-out tokens of each of S sources.
        before: that of the plain method, the first candidate before it is refitted.
    """
    ratios = torch.where(before > 0, errors / before.clamp_min(torch.finfo(before.dtype).tiny), 1.0)
    ratios = torch.where((before == 0) & (errors > 0), torch.inf, ratios)
    return float("inf") if bool(ratios.isinf().any()) else float(ratios.log().mean().exp())


def chosen_candidate(errors: Sequence[Float64[Tensor, " S"]], before: Float64[Tensor, " S"]) -> int | None:
    """The candidate with the least `fraction_left`; None where the plain method stays as it is.

    It may leave a source more than the plain method would, where others gain: the plain method on this stream has the
    gains of the layers before, too, so it is no longer the plain method's model that a source is protected from.
    Ties go to the plain method, then to the earlier candidate. An error that is not a number never wins.

    Args:
        errors: of each candidate, the simplest first.
        before: of the plain method.
    """
    best, least = None, 1.0
    for number, candidate in enumerate(errors):
        left = fraction_left(candidate, before)
        if left < least:
            best, least = number, left
    return best
