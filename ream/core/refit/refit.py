"""Refit: the down projections of a compressed layer, in closed form (docs/refit.md; beyond the REAM paper).

For changes X_j = W_j − W_j⁰ of the K down projections, minimise

    F(X) = sum over x of ‖e(x) − sum over j in T'(x) of X_j f_j(x)‖² + sum over j of λ · mean(diag A_j) · ‖X_j‖²

with f_j(x) = g'_j(x) h'_j(x) of the compressed layer, e(x) = y(x) − its output before, and A_j = sum of f_j f_j^T. It
is linear least squares with one matrix for all H outputs. Solved by conjugate gradients on the normal equations, every
output with step lengths of its own, preconditioned with the Cholesky factors of the experts' diagonal blocks
A_j + λ mean(diag A_j): Golub and Van Loan, Matrix Computations, 4th edition, 11.5. A sweep is one pass over the tokens.
It needs no memory a token, leaves no cross terms out, and takes singular blocks. A matrix that is small enough is kept
and solved at once (`ream.core.refit.direct`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit
from ream.core.refit.direct import full_sums, solved
from ream.core.refit.sums import (
    CompressedExperts,
    NormalSums,
    Stream,
    error_sums,
    gram_product,
    normal_sums,
    product_dtype,
    squared_errors,
)

DEFINITE = 5e-7  # of a block's trace, added to its diagonal for its Cholesky factor


@dataclass(frozen=True)
class RefitReport:
    """What a refit did to the squared error of the layer's output, summed over tokens and outputs.

    Attributes:
        fitted: on fitted tokens, before and after each sweep; the last one measured, the others by the recurrence.
        held_out: the same on tokens held out; all zeros where there are none.
        ridge: what the ridge adds to the objective after the last sweep.
        tokens: fitted ones routed to each expert.
        fitted_tokens, held_out_tokens: how many there are.
        reverted: outputs of the H that keep their weights because the new ones were measured to be no better.
    """

    fitted: list[float]
    held_out: list[float]
    ridge: float
    tokens: list[int]
    fitted_tokens: int
    held_out_tokens: int
    reverted: int

    @property
    def left(self) -> float:
        """Share of the squared error on fitted tokens that is left."""
        return self.fitted[-1] / self.fitted[0] if self.fitted[0] else 1.0

    @property
    def left_held_out(self) -> float:
        """Share of the squared error on held-out tokens that is left."""
        return self.held_out[-1] / self.held_out[0] if self.held_out[0] else 1.0


@dataclass(frozen=True)
class RefitSettings:
    """How to refit.

    Attributes:
        ridge: λ, at least 0.
        sweeps: at most, at least 1.
        tolerance: a sweep that takes less than this share of the error before from the objective is the last.
        outputs: of the H that are solved at a time, which bounds memory; None: all. No result depends on it but for
            rounding and the last sweep.
        direct: columns K·D up to which the whole matrix is kept and solved at once, without sweeps.
    """

    ridge: float = 1e-3
    sweeps: int = 20
    tolerance: float = 1e-5
    outputs: int | None = None
    direct: int = 0


@torch.no_grad()
def refit(
    stream: Stream, stack: ExpertStack, unit: GatedUnit, settings: RefitSettings
) -> tuple[Float32[Tensor, "K H D"], RefitReport]:
    """New down projections of a compressed layer's experts.

    Args:
        stream: starts a pass over the calibration tokens. One is made for the matrices A_j, and for each part of the
            outputs two and one a sweep.
        stack: the K experts before. Biases stay, and so does an expert that no fitted token is routed to.
        unit: of their neurons.
        settings: see there.

    Returns:
        The down projections, on the experts' device, and what they do. On the fitted tokens no output's objective is
        larger than before: it is measured in the end, and an output for which rounding broke it keeps its weights.
    """
    experts = CompressedExperts(stack, unit)
    if len(stack) * stack.down.shape[2] <= settings.direct:
        return _at_once(stream, experts, settings)
    sums = normal_sums(stream, experts)
    ridge = settings.ridge * sums.gram.diagonal(dim1=1, dim2=2).mean(1)
    factors = _factors(sums.gram, ridge)
    rounding = 4 * torch.finfo(product_dtype(stack.down.dtype)).eps
    hidden = stack.down.shape[1]
    step, down, parts = settings.outputs or hidden, stack.down.to(torch.float32, copy=True), []
    for start in range(0, hidden, step):
        outputs = slice(start, min(start + step, hidden))
        change, part = _solve(stream, experts, outputs, ridge, factors, rounding, settings)
        down[:, outputs] = (stack.down[:, outputs].double() + change).float()
        parts.append(part)
    return down, _together(parts, sums)


def _at_once(
    stream: Stream, experts: CompressedExperts, settings: RefitSettings
) -> tuple[Float32[Tensor, "K H D"], RefitReport]:
    """Both passes of the direct solution: for the sums, and to measure."""
    sums, outputs = full_sums(stream, experts), slice(None)
    ridge = settings.ridge * sums.normal.gram.diagonal(dim1=1, dim2=2).mean(1)
    change = solved(sums, ridge)
    measured, held_out = squared_errors(stream, experts, change, outputs)
    worse = ~(measured + _penalty(change, ridge) <= sums.fitted)
    if bool(worse.any()):
        change = torch.where(worse[:, None], 0.0, change)
        measured, held_out = squared_errors(stream, experts, change, outputs)
    errors = [float(sums.fitted.sum()), float(measured.sum())]
    part = _Part(errors, [sums.held_out, held_out], float(_penalty(change, ridge).sum()), int(worse.sum()))
    return (experts.stack.down.double() + change).float(), _together([part], sums.normal)


@dataclass(frozen=True)
class _Part:
    """Of some of the outputs, what `RefitReport` sums up."""

    fitted: list[float]
    held_out: list[float]
    ridge: float
    reverted: int


def _solve(
    stream: Stream,
    experts: CompressedExperts,
    outputs: slice,
    ridge: Float64[Tensor, " K"],
    factors: Float64[Tensor, "K D D"],
    rounding: float,
    settings: RefitSettings,
) -> tuple[Float64[Tensor, "K O D"], _Part]:
    """Conjugate gradients for some of the outputs, all of them in step, with the errors on the way."""
    gradient, before, held_out_before = error_sums(stream, experts, outputs)
    change, objective = torch.zeros_like(gradient), before
    fitted, held_out = [float(before.sum())], [held_out_before]
    direction = torch.cholesky_solve(gradient.mT, factors).mT
    slope = _dots(gradient, direction)
    moves = torch.ones_like(before, dtype=torch.bool)
    for sweep in range(settings.sweeps):
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
        fitted.append(float((objective - _penalty(change, ridge)).sum()))
        if float(gained.sum()) <= settings.tolerance * fitted[0]:
            break
        conditioned = torch.cholesky_solve(gradient.mT, factors).mT
        following = _dots(gradient, conditioned)
        direction = conditioned + torch.where(moves, following / slope, 0.0)[:, None] * direction
        slope = following
    measured, held_out_after = squared_errors(stream, experts, change, outputs)
    worse = ~(measured + _penalty(change, ridge) <= before)  # or not a number
    if bool(worse.any()):
        change = torch.where(worse[:, None], 0.0, change)
        measured, held_out_after = squared_errors(stream, experts, change, outputs)
    fitted[-1] = float(measured.sum())
    held_out.append(held_out_after)
    return change, _Part(fitted, held_out, float(_penalty(change, ridge).sum()), int(worse.sum()))


def _factors(gram: Float64[Tensor, "K D D"], ridge: Float64[Tensor, " K"]) -> Tensor:
    """Cholesky factors of the diagonal blocks, [K, D, D].

    They only precondition: what is added to make blocks definite changes how fast the minimum is found, not where it
    is. It is above the rounding of float32 products, and keeps directions that no token has out of the steps.
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


def _penalty(change: Float64[Tensor, "K O D"], ridge: Float64[Tensor, " K"]) -> Float64[Tensor, " O"]:
    """What the ridge adds to the objective of each output."""
    return (change.square().sum(2) * ridge[:, None]).sum(0)


def _together(parts: list[_Part], sums: NormalSums) -> RefitReport:
    """The sums over all outputs; a part that was done in fewer sweeps stays at its last errors."""
    sweeps = max(len(part.fitted) for part in parts)

    def total(errors: list[list[float]]) -> list[float]:
        return [sum(each[min(sweep, len(each) - 1)] for each in errors) for sweep in range(sweeps)]

    return RefitReport(
        fitted=total([part.fitted for part in parts]),
        held_out=total([part.held_out for part in parts]),
        ridge=sum(part.ridge for part in parts),
        tokens=[int(count) for count in sums.count.tolist()],
        fitted_tokens=sums.fitted_tokens,
        held_out_tokens=sums.held_out_tokens,
        reverted=sum(part.reverted for part in parts),
    )
