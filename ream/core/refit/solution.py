"""Measures what a solver of the refit found; outputs that it made worse keep their weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from ream.core.refit.sums import CompressedExperts, Stream, squared_errors


@dataclass(frozen=True)
class SolutionErrors:
    """Errors on the way to a solution for O of the H outputs.

    Attributes:
        fitted: squared errors on fitted tokens before and after each sweep, summed over the O outputs; the last one is
            measured.
        held_out: the same on held-out tokens.
        ridge: the ridge's part of the objective after the last sweep.
        reverted: number of outputs that keep their weights.
    """

    fitted: list[float]
    held_out: list[float]
    ridge: float
    reverted: int


def measured_solution(
    stream: Stream,
    experts: CompressedExperts,
    outputs: slice,
    change: Float64[Tensor, "K O D"],
    ridge: Float64[Tensor, " K"],
    before: Float64[Tensor, " O"],
    fitted: Sequence[float],
    held_out: Sequence[float],
) -> tuple[Float64[Tensor, "K O D"], SolutionErrors]:
    """The changes that stand, and their errors, measured in one pass, or two where an output became worse.

    An output whose measured objective is larger than before, or not a number, gets the change 0.

    Args:
        stream: starts a pass over the tokens.
        experts: the layer's experts.
        outputs: which of the H outputs.
        change: what the solver found.
        ridge: what the ridge adds to the diagonal of each expert's block.
        before: squared error of each output on fitted tokens before the refit.
        fitted: errors on fitted tokens on the way, without the last.
        held_out: errors on held-out tokens on the way, without the last.
    """
    measured, held_out_after = squared_errors(stream, experts, change, outputs)
    worse = ~(measured + penalty(change, ridge) <= before)  # or not a number
    if bool(worse.any()):
        change = torch.where(worse[:, None], 0.0, change)
        measured, held_out_after = squared_errors(stream, experts, change, outputs)
    errors = SolutionErrors(
        fitted=[*fitted, float(measured.sum())],
        held_out=[*held_out, held_out_after],
        ridge=float(penalty(change, ridge).sum()),
        reverted=int(worse.sum()),
    )
    return change, errors


def penalty(change: Float64[Tensor, "K O D"], ridge: Float64[Tensor, " K"]) -> Float64[Tensor, " O"]:
    """The ridge's part of the objective of each output: sum over j of ridge_j ‖X_j‖²."""
    return (change.square().sum(2) * ridge[:, None]).sum(0)
