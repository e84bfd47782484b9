"""The refit's normal equations by preconditioned conjugate gradients: one pass over the tokens a sweep.

Every output has its own step lengths. The preconditioner consists of the Cholesky factors of the diagonal blocks,
A_j + λ mean(diag A_j): Golub and Van Loan, Matrix Computations, 4th edition, 11.5. No memory grows with the number of
tokens, cross terms between experts are all there, and blocks may be singular.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from ream.core.refit.solution import SolutionErrors, measured_solution, penalty
from ream.core.refit.sums import CompressedExperts, Stream, error_sums, gram_product, product_dtype

DEFINITE = 5e-7  # of a block's trace, added to its diagonal for its Cholesky factor


@dataclass(frozen=True)
class Swept:
    """What sweeps have found for O of the outputs.

    Attributes:
        change: the changes of the down projections.
        before: squared error of each output on fitted tokens before the first sweep.
        fitted: squared errors on fitted tokens before and after each sweep, summed over the O outputs, by recurrence.
        held_out: the same on held-out tokens, without the last.
    """

    change: Float64[Tensor, "K O D"]
    before: Float64[Tensor, " O"]
    fitted: list[float]
    held_out: list[float]


def solved_by_sweeps(
    stream: Stream,
    experts: CompressedExperts,
    outputs: slice,
    ridge: Float64[Tensor, " K"],
    factors: Float64[Tensor, "K D D"],
    sweeps: int,
    tolerance: float,
) -> tuple[Float64[Tensor, "K O D"], SolutionErrors]:
    """The changes of O of the outputs, all of them solved in step, and their errors; arguments as of `swept`."""
    found = swept(stream, experts, outputs, ridge, factors, sweeps, tolerance)
    return measured_solution(
        stream, experts, outputs, found.change, ridge, found.before, found.fitted[:-1], found.held_out
    )


def swept(
    stream: Stream,
    experts: CompressedExperts,
    outputs: slice,
    ridge: Float64[Tensor, " K"],
    factors: Float64[Tensor, "K D D"],
    sweeps: int,
    tolerance: float,
    start: Float64[Tensor, "K O D"] | None = None,
) -> Swept:
    """The changes of O of the outputs, all of them solved in step.

    Args:
        stream: starts a pass over the tokens.
        experts: the layer's experts.
        outputs: which of the H outputs.
        ridge: what is added to the diagonal of each expert's block.
        factors: the preconditioner, by `block_factors`.
        sweeps: maximum number of sweeps, at least 1.
        tolerance: a sweep that lowers the objective by less than this fraction of the error before is the last.
        start: changes to start from, such as the solution for another ridge; None for no change.
    """
    rounding = 4 * torch.finfo(product_dtype(experts.stack.down.dtype)).eps
    gradient, before, held_out_before = error_sums(stream, experts, outputs, start)
    change, objective = torch.zeros_like(gradient), before
    if start is not None:
        change, objective = start.clone(), before + penalty(start, ridge)
        gradient -= ridge[:, None, None] * start
    fitted, held_out = [float(before.sum())], [held_out_before]
    direction = torch.cholesky_solve(gradient.mT, factors).mT
    slope = _dots(gradient, direction)
    moves = torch.ones_like(before, dtype=torch.bool)
    for sweep in range(sweeps):
        product, held_out_now = gram_product(stream, experts, direction, change, outputs)
        if sweep:
            held_out.append(held_out_now)
        product += ridge[:, None, None] * direction
        curvature = _dots(direction, product)
        # Nothing but rounding is left to gain: a step would follow noise, far where the blocks are singular.
        moves &= (curvature > 0) & (slope * slope > rounding * before * curvature)
        length = torch.where(moves, slope / curvature, 0.0)
        gained = torch.where(moves, length * slope, 0.0)
        change += length[:, None] * direction
        gradient -= length[:, None] * product
        objective = objective - gained
        fitted.append(float((objective - penalty(change, ridge)).sum()))
        if float(gained.sum()) <= tolerance * fitted[0]:
            break
        conditioned = torch.cholesky_solve(gradient.mT, factors).mT
        next_slope = _dots(gradient, conditioned)
        direction = conditioned + torch.where(moves, next_slope / slope, 0.0)[:, None] * direction
        slope = next_slope
    return Swept(change, before, fitted, held_out)


def block_factors(gram: Float64[Tensor, "K D D"], ridge: Float64[Tensor, " K"]) -> Float64[Tensor, "K D D"]:
    """Cholesky factors of the diagonal blocks.

    They only precondition: what is added to make blocks definite changes how fast the minimum is found, not where it
    is. It is above the rounding of float32 products, and keeps directions that no token has out of the steps.

    Args:
        gram: A_j of each expert.
        ridge: what is added to the diagonal of each expert's block.
    """
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)  # at least the largest eigenvalue
    added = torch.where(trace > 0, ridge + DEFINITE * trace, 1.0)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    blocks = gram + added[:, None, None] * eye
    factors, failed = torch.linalg.cholesky_ex(blocks)
    diagonal = blocks.diagonal(dim1=1, dim2=2).sqrt().diag_embed()
    return torch.where((failed > 0)[:, None, None], diagonal, factors)


def _dots(left: Float64[Tensor, "K O D"], right: Float64[Tensor, "K O D"]) -> Float64[Tensor, " O"]:
    """The scalar product of each output's numbers."""
    return torch.einsum("kod,kod->o", left, right)
