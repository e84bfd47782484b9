"""Fitting the gate, up and down projections of a layer's experts together (docs/refit.md; beyond the REAM paper).

Non-linear least squares on one layer: minimise

    sum over fitted x of ‖y(x) − sum over j in T(x) of g_j(x) (W_down_j unit(W_gate_j x, W_up_j x) + b_j)‖²

over the projections; routing, biases and everything outside of the layer stay. There is no closed form. The error is
lowered by Adam (Kingma and Ba, arXiv 1412.6980; torch's) on batches of shuffled tokens, in the coordinates of
`ream.core.refit.coordinates`. What is kept is the mean of the positions of about the last pass (Polyak and Juditsky,
1992): near the minimum Adam's steps are mostly the noise of the batches, which the mean takes out, so the fit can end
after any pass.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert, ExpertStack, GatedUnit
from ream.core.refit.coordinates import Coordinates, expert_coordinates
from ream.core.refit.projection_passes import FitProblem, Steps, projections
from ream.core.refit.sums import RefitTokens, Stream, Total, own, product_dtype

ROUND = 2


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes:
        iterations: maximum number of passes over the tokens.
        round: passes between two measurements. The fit ends with a round that does not lower the error on held-out
            tokens, or on fitted ones where none are held out; that round is undone.
        rate: Adam's learning rate times the square root of the number of coordinates: about the norm of a step, where
            that of the solution is about 1.
        last_rate: fraction of the rate that is left in the last pass; it falls linearly.
        damping: fraction of a matrix's mean diagonal that is added to its diagonal for the coordinates.
    """

    iterations: int
    round: int = ROUND
    rate: float = 0.2
    last_rate: float = 0.1
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
    steps: Steps,
    stack: ExpertStack,
    unit: GatedUnit,
    which: Sequence[int],
    settings: FitSettings,
    total: Total = own,
) -> tuple[dict[str, Float[Tensor, "B _ _"]], FitReport]:
    """New projections of B of a layer's experts.

    Args:
        stream: starts a pass over the tokens; ``error`` is y(x), what these experts together should give. A round takes
            one beside its own, and the beginning two.
        steps: passes over the fitted tokens in other orders, with the same errors.
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
    search = _Search(problem, steps, experts, coordinates, errors[0][0], settings)
    best = projections(experts)
    for first in range(0, settings.iterations, settings.round):
        for number in range(first, min(first + settings.round, settings.iterations)):
            search.go_through(number)
        reached = search.reached()
        now = problem.errors(reached)
        if not now[0] < errors[-1][0] or now[1] > errors[-1][1]:  # or not a number
            break
        errors.append(now)
        best = projections(reached)
    return best, _report(errors)


class _Search:
    """Adam on V, the coordinates of B experts."""

    def __init__(
        self,
        problem: FitProblem,
        steps: Steps,
        start: Sequence[Expert],
        coordinates: Sequence[Coordinates],
        error: float,
        settings: FitSettings,
    ) -> None:
        """Start at V = 0.

        Args:
            problem: the tokens, and the indices of the experts.
            steps: the batches.
            start: the experts at V = 0.
            coordinates: of each expert.
            error: squared error at the start, by which the objective is divided.
            settings: how to fit.
        """
        self._problem, self._steps, self._start, self._coordinates = problem, steps, start, coordinates
        self._error, self._settings, self._taken = error, settings, 0
        self._moves = [torch.zeros_like(tensor) for tensor in projections(start).values()]
        self._mean = [torch.zeros_like(move) for move in self._moves]
        self._rate = settings.rate / math.sqrt(sum(move.numel() for move in self._moves))
        self._optimizer = torch.optim.Adam(self._moves, lr=self._rate, betas=(0.9, 0.99), eps=1e-12)

    def go_through(self, number: int) -> None:
        """Take the steps of one pass.

        Args:
            number: of the pass.
        """
        for pieces in self._steps.tokens(number):
            self._step(pieces)

    def reached(self) -> list[Expert]:
        """The experts at the mean of the positions of about the last pass."""
        return self._experts(self._mean)

    def _experts(self, moves: Sequence[Tensor]) -> list[Expert]:
        """The experts at a V."""
        return [
            coordinates.moved(expert, [move[row] for move in moves])
            for row, (coordinates, expert) in enumerate(zip(self._coordinates, self._start, strict=True))
        ]

    @torch.no_grad()
    def _step(self, pieces: Iterable[RefitTokens]) -> None:
        """Move V by the tokens of a batch, and the mean with it."""
        gradients = self._problem.gradients(pieces, self._experts(self._moves))
        for move in self._moves:
            move.grad = torch.empty_like(move)
        for row, coordinates in enumerate(self._coordinates):
            parts = coordinates.gradient([gradient[row] for gradient in gradients])
            for move, part in zip(self._moves, parts, strict=True):
                assert move.grad is not None
                move.grad[row] = part * (self._steps.count / self._error)
        done = self._taken / (self._settings.iterations * self._steps.count)
        self._optimizer.param_groups[0]["lr"] = self._rate * (1.0 - (1.0 - self._settings.last_rate) * done)
        self._optimizer.step()
        self._taken += 1
        for mean, move in zip(self._mean, self._moves, strict=True):
            mean.lerp_(move, 1.0 / min(self._taken, self._steps.count))


def _report(errors: Sequence[tuple[float, float]]) -> FitReport:
    """The report of (fitted, held-out) errors by round."""
    return FitReport([fitted for fitted, _ in errors], [held_out for _, held_out in errors])
