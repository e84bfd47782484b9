"""Rank of a sequence's hidden states before the language-model head, and its mean over sequences (paper, Fig. 5)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float

# Hidden states come from float32 or narrower arithmetic, so singular values below its rounding error are noise.
EPSILON = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over sequences.

    Attributes:
        numerical: mean numerical rank (`numerical_rank`).
        numerical_stderr: its standard error over sequences; None for one sequence.
        effective: mean effective rank (`effective_rank`).
        effective_stderr: its standard error over sequences; None for one sequence.
        sequences: number of sequences.
        largest: the largest possible mean rank: the mean of min(T, H).
    """

    numerical: float
    numerical_stderr: float | None
    effective: float
    effective_stderr: float | None
    sequences: int
    largest: float


def singular_values(states: Float[torch.Tensor, "T H"]) -> Float[torch.Tensor, " m"]:
    """Singular values of hidden states.

    Args:
        states: [T, H], any floating dtype.

    Returns:
        [m] float64 in decreasing order, m = min(T, H).

    Raises:
        ValueError: there is no token, or a value is not finite.
    """
    if not states.shape[0]:
        raise ValueError("a sequence without tokens has no rank")
    if not torch.isfinite(states).all():
        raise ValueError("hidden states are not finite")
    values: torch.Tensor = torch.linalg.svdvals(states.double())
    return values


def numerical_rank(values: Float[torch.Tensor, " m"], longest: int, epsilon: float = EPSILON) -> int:
    """Number of singular values above max(T, H) · epsilon · the largest one; 0 for a matrix of zeros.

    The paper does not state its tolerance. This one is the tolerance of torch.linalg.matrix_rank and
    numpy.linalg.matrix_rank for a float32 matrix.

    Args:
        values: singular values in decreasing order.
        longest: max(T, H).
        epsilon: relative rounding error of the arithmetic that made the states.
    """
    return int((values > longest * epsilon * values[0]).sum())


def effective_rank(values: Float[torch.Tensor, " m"]) -> float:
    """exp(−sum p log p), where p are the singular values divided by their sum (Roy and Vetterli, EUSIPCO 2007).

    It is 1 if only one value is nonzero and m if all m values are equal; 0 for a matrix of zeros.
    """
    total = values.sum()
    if total == 0:
        return 0.0
    p = values[values > 0] / total
    return float(torch.exp(-(p * p.log()).sum()))


class RankMean:
    """Mean of both ranks over sequences that are given one at a time; it holds sums only.

    Args:
        epsilon: see `numerical_rank`.
    """

    def __init__(self, epsilon: float = EPSILON) -> None:
        self.epsilon = epsilon
        self.count = 0
        self.largest = 0
        self.sums = [0.0, 0.0]
        self.squares = [0.0, 0.0]

    def update(self, states: Float[torch.Tensor, "T H"]) -> None:
        """Add one sequence.

        Args:
            states: [T, H] hidden states of its real tokens, without padding.

        Raises:
            ValueError: see `singular_values`.
        """
        values = singular_values(states)
        ranks = (float(numerical_rank(values, max(states.shape), self.epsilon)), effective_rank(values))
        for kind, rank in enumerate(ranks):
            self.sums[kind] += rank
            self.squares[kind] += rank * rank
        self.largest += min(states.shape)
        self.count += 1

    def result(self) -> Ranks:
        """The means over the sequences so far.

        Raises:
            ValueError: no sequence was given.
        """
        if not self.count:
            raise ValueError("no sequence was given, so there is no mean rank")
        (numerical, numerical_error), (effective, effective_error) = (self._mean(kind) for kind in range(2))
        return Ranks(numerical, numerical_error, effective, effective_error, self.count, self.largest / self.count)

    def _mean(self, kind: int) -> tuple[float, float | None]:
        """Mean and standard error of the numerical (0) or the effective rank (1)."""
        mean = self.sums[kind] / self.count
        if self.count == 1:
            return mean, None
        variance = max(0.0, self.squares[kind] - self.count * mean * mean) / (self.count - 1)
        return mean, math.sqrt(variance / self.count)
