"""The refit: the down projections of a compressed layer, in closed form (docs/refit.md; beyond the REAM paper).

For changes X_j = W_j − W_j⁰ of the K down projections, minimise

    F(X) = sum over x of ‖e(x) − sum over j in T'(x) of X_j f_j(x)‖² + sum over j of λ · mean(diag A_j) · ‖X_j‖²

with f_j(x) = g'_j(x) h'_j(x) of the compressed layer, e(x) = y(x) − the compressed layer's output before, and
A_j = sum of f_j f_j^T. It is linear least squares with one matrix for all H outputs. A small matrix is kept and solved
at once (`ream.core.refit.direct`), others by conjugate gradients (`ream.core.refit.conjugate_gradients`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit
from ream.core.refit.conjugate_gradients import block_factors, solved_by_sweeps
from ream.core.refit.direct import solved_at_once
from ream.core.refit.solution import SolutionErrors
from ream.core.refit.sums import CompressedExperts, NormalSums, Stream, Total, normal_sums, own


@dataclass(frozen=True)
class RefitSettings:
    """How to refit.

    Attributes:
        ridge: λ, at least 0.
        sweeps: maximum number of sweeps, at least 1.
        tolerance: a sweep that lowers the objective by less than this fraction of the error before is the last.
        outputs: how many of the H outputs are solved at a time, which bounds memory; None: all. Results depend on it
            only by rounding and by which sweep is the last.
        direct: maximum number of columns, K·D, up to which the whole matrix is kept and solved at once, without sweeps.
    """

    ridge: float = 1e-3
    sweeps: int = 20
    tolerance: float = 1e-5
    outputs: int | None = None
    direct: int = 0


@dataclass(frozen=True)
class RefitReport:
    """What a refit did to the squared error of the layer's output, summed over tokens and outputs.

    Attributes:
        fitted: on fitted tokens, before and after each sweep; the last one is measured, the others by the recurrence.
        held_out: the same on held-out tokens; all zeros where there are none.
        ridge: the ridge's part of the objective after the last sweep.
        tokens: fitted tokens routed to each expert.
        fitted_tokens: number of fitted tokens.
        held_out_tokens: number of held-out tokens.
        reverted: number of outputs that keep their weights because the new ones were measured to be no better.
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
        """Fraction of the squared error on fitted tokens that is left; 1 where there was none."""
        return self.fitted[-1] / self.fitted[0] if self.fitted[0] else 1.0

    @property
    def left_held_out(self) -> float:
        """Fraction of the squared error on held-out tokens that is left; 1 where there was none."""
        return self.held_out[-1] / self.held_out[0] if self.held_out[0] else 1.0


@torch.no_grad()
def refit(
    stream: Stream, stack: ExpertStack, unit: GatedUnit, settings: RefitSettings, total: Total = own
) -> tuple[Float32[Tensor, "K H D"], RefitReport]:
    """New down projections of a compressed layer's experts.

    Args:
        stream: starts a pass over the calibration tokens. Conjugate gradients take one pass for the matrices A_j, and
            for each part of the outputs one for the right-hand side, one a sweep and one to measure. The direct
            solution takes two. Where an output became worse, one more measures again.
        stack: the K experts before. Biases stay, and so does an expert that no fitted token is routed to.
        unit: gated unit of the experts' neurons.
        settings: how to refit.
        total: of all processes that share the tokens; each finds the same solution.

    Returns:
        The down projections, on the experts' device, and the report. On the fitted tokens no output's objective is
        larger than before: it is measured in the end, and an output for which rounding broke it keeps its weights.
    """
    experts = CompressedExperts(stack, unit, total)
    if len(stack) * stack.down.shape[2] <= settings.direct:
        change, errors, sums = solved_at_once(stream, experts, settings.ridge)
        return (stack.down.double() + change).float(), _report([errors], sums)
    sums = normal_sums(stream, experts)
    ridge = settings.ridge * sums.gram.diagonal(dim1=1, dim2=2).mean(1)
    factors = block_factors(sums.gram, ridge)
    hidden = stack.down.shape[1]
    step, down, parts = settings.outputs or hidden, stack.down.to(torch.float32, copy=True), []
    for start in range(0, hidden, step):
        outputs = slice(start, min(start + step, hidden))
        change, errors = solved_by_sweeps(stream, experts, outputs, ridge, factors, settings.sweeps, settings.tolerance)
        down[:, outputs] = (stack.down[:, outputs].double() + change).float()
        parts.append(errors)
    return down, _report(parts, sums)


def _report(parts: Sequence[SolutionErrors], sums: NormalSums) -> RefitReport:
    """Sums over all outputs; a part of them that took fewer sweeps stays at its last errors."""
    sweeps = max(len(part.fitted) for part in parts)

    def total(errors: list[list[float]]) -> list[float]:
        """Errors of all parts added up, by sweep."""
        return [sum(series[min(sweep, len(series) - 1)] for series in errors) for sweep in range(sweeps)]

    return RefitReport(
        fitted=total([part.fitted for part in parts]),
        held_out=total([part.held_out for part in parts]),
        ridge=sum(part.ridge for part in parts),
        tokens=[int(count) for count in sums.count.tolist()],
        fitted_tokens=sums.fitted_tokens,
        held_out_tokens=sums.held_out_tokens,
        reverted=sum(part.reverted for part in parts),
    )
