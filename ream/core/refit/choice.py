"""What is chosen by the error on held-out sequences: the candidate of a layer (docs/refit.md, "best")."""

from collections.abc import Sequence

from jaxtyping import Float64
from torch import Tensor


def fraction_left(errors: Float64[Tensor, " S"], before: Float64[Tensor, " S"]) -> float:
    """The fraction of the plain method's squared error that is left, of all sources together.

    What a source adds to the mean loss grows with its error and not with the fraction of it, so halving an error that
    is small already counts less than halving a large one.

    1 where the plain method has no error and none is left, infinite where some is.

    Args:
        errors: squared error on the held-out tokens of each of S sources.
        before: that of the plain method, the first candidate before it is refitted.
    """
    left, plain = float(errors.sum()), float(before.sum())
    if plain > 0:
        return left / plain
    return float("inf") if left > 0 else 1.0


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
