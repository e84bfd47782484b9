"""Fitting the gate, up and down projections of a layer's experts together (docs/refit.md; beyond the REAM paper).

Non-linear least squares on one layer: minimise

    sum over fitted x of ‖y(x) − sum over j in T(x) of g_j(x) (W_down_j unit(W_gate_j x, W_up_j x) + b_j)‖²

over the projections; routing, biases and everything outside of the layer stay. There is no closed form. The error is
lowered by L-BFGS (Liu and Nocedal, 1989; torch's, with a line search that satisfies the strong Wolfe conditions), in
the coordinates of `ream.core.refit.coordinates`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert, ExpertStack, GatedUnit
from ream.core.refit.coordinates import Coordinates, expert_coordinates
from ream.core.refit.projection_passes import FitProblem, projections
from ream.core.refit.sums import Stream, Total, own, product_dtype

ROUND = 10


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes:
        iterations: maximum number of iterations of L-BFGS; one is about one pass over the tokens.
        round: iterations between two measurements. The fit ends with a round that does not lower the error on held-out
            tokens, or on fitted ones where none are held out; that round is undone.
        history: pairs of steps and gradients that L-BFGS keeps.
        damping: fraction of a matrix's mean diagonal that is added to its diagonal for the coordinates.
    """

    iterations: int
    round: int = ROUND
    history: int = 5
    damping: float = 0.1


@dataclass(frozen=True)
class FitReport:
    """Squared errors before and after each round that stood, summed over tokens and outputs.

    Attributes:
        fitted: on fitted tokens.
        held_out: on held-out tokens; all zeros where there are none.
    """

    fitted: list[float]
    held_out: list[float]


def fit_projections(
    stream: Stream,
    stack: ExpertStack,
    unit: GatedUnit,
    which: Sequence[int],
    settings: FitSettings,
    total: Total = own,
) -> tuple[dict[str, Float[Tensor, "B _ _"]], FitReport]:
    """New projections of B of a layer's experts.

    Args:
        stream: starts a pass over the tokens; ``error`` is y(x), what these experts together should give. Most
            iterations take one pass; a round takes two more, and the beginning two.
        stack: the K experts of the layer.
        unit: gated unit of their neurons.
        which: indices of the B experts to fit.
        settings: how to fit.
        total: of all processes that share the tokens; each takes the same steps.

    Returns:
        Gate (where there is one), up [B, D, H] and down [B, H, D] in float32 at least, and the report. An expert that
        no fitted token is routed to keeps its weights bit for bit, and so do all where nothing is gained.
    """
    dtype = product_dtype(stack.down.dtype)
    experts = [stack[expert].to(stack.down.device, dtype) for expert in which]
    problem = FitProblem(stream, which, unit, total)
    errors = [problem.errors(experts)]
    if errors[0][0] == 0.0:
        return projections(experts), _report(errors)
    coordinates = expert_coordinates(problem, experts, settings.damping, errors[0][0] ** 0.5)
    search = _Search(problem, experts, coordinates, errors[0][0], settings)
    best = search.position()
    for start in range(0, settings.iterations, settings.round):
        search.advance(min(settings.round, settings.iterations - start))
        now = problem.errors(search.experts())
        if not now[0] < errors[-1][0] or now[1] > errors[-1][1]:  # or not a number
            break
        errors.append(now)
        best = search.position()
    search.restore(best)
    return projections(search.experts()), _report(errors)


class _Search:
    """L-BFGS on V, the coordinates of B experts."""

    def __init__(
        self,
        problem: FitProblem,
        start: Sequence[Expert],
        coordinates: Sequence[Coordinates],
        error: float,
        settings: FitSettings,
    ) -> None:
        """Start at V = 0.

        Args:
            problem: the tokens, and the indices of the experts.
            start: the experts at V = 0.
            coordinates: of each expert.
            error: squared error at the start, by which the objective is divided.
            settings: how to fit.
        """
        self._problem, self._start, self._coordinates, self._error = problem, start, coordinates, error
        self._moves = [torch.zeros_like(tensor).requires_grad_() for tensor in projections(start).values()]
        for move in self._moves:
            move.grad = torch.zeros_like(move)
        self._optimizer = torch.optim.LBFGS(
            self._moves,
            max_iter=settings.round,
            history_size=settings.history,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=1e-12,
        )

    def experts(self) -> list[Expert]:
        """The experts at the present V."""
        return [
            coordinates.moved(expert, [move.detach()[row] for move in self._moves])
            for row, (coordinates, expert) in enumerate(zip(self._coordinates, self._start, strict=True))
        ]

    def advance(self, iterations: int) -> None:
        """Take up to that many iterations; L-BFGS keeps its history from one call to the next."""
        options = self._optimizer.param_groups[0]
        options["max_iter"], options["max_eval"] = iterations, iterations * 5 // 4
        step: Callable[[Callable[[], float]], object] = self._optimizer.step
        step(self._objective)

    def position(self) -> list[Tensor]:
        """A copy of the present V, for `restore`."""
        return [move.detach().clone() for move in self._moves]

    @torch.no_grad()
    def restore(self, position: Sequence[Tensor]) -> None:
        """Go to a V that was the present one before."""
        for move, value in zip(self._moves, position, strict=True):
            move.copy_(value)

    def _objective(self) -> float:
        """Squared error on fitted tokens as a fraction of that at the start; sets its gradients with respect to V."""
        value, gradients = self._problem.gradients(self.experts())
        for row, coordinates in enumerate(self._coordinates):
            for move, gradient in zip(self._moves, coordinates.gradient(gradients[row]), strict=True):
                assert move.grad is not None
                move.grad[row] = gradient / self._error
        return value / self._error


def _report(errors: Sequence[tuple[float, float]]) -> FitReport:
    """The report of (fitted, held-out) errors by round."""
    return FitReport([fitted for fitted, _ in errors], [held_out for _, held_out in errors])
