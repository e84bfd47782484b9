"""Passes over a layer's tokens for the fit of all projections: the experts' outputs, errors and gradients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert, ExpertStack, GatedUnit, expert_outputs, neuron_activations
from ream.core.pairs import routed_rows
from ream.core.refit.sums import RefitTokens, Stream, Total, own, product_dtype

FITTED = ("gate", "up", "down")  # of experts that have them


@dataclass(frozen=True)
class Steps:
    """Passes over the fitted tokens, a batch for each step of the fit.

    Attributes:
        count: batches of a pass; the same for all processes that share the tokens, and for every pass.
        tokens: starts the pass of a number, from 0; each has its own order. Gives each batch in pieces, whose gradients
            are added up; one that has no token of this process has no piece.
    """

    count: int
    tokens: Callable[[int], Iterable[Iterable[RefitTokens]]]


@dataclass(frozen=True)
class FitProblem:
    """Which of a layer's experts are fitted, and the tokens that they are fitted to.

    Attributes:
        stream: starts a pass over the tokens; ``error`` is y(x), what these experts together should give.
        which: indices of the B experts in the layer.
        unit: gated unit of their neurons.
        total: of all processes that share the tokens.
    """

    stream: Stream
    which: Sequence[int]
    unit: GatedUnit
    total: Total = own

    @torch.no_grad()
    def errors(self, experts: Sequence[Expert]) -> tuple[float, float]:
        """Squared errors of B experts on fitted and on held-out tokens, in one pass."""
        sums = torch.zeros(2, dtype=torch.float64, device=experts[0].down.device)
        for tokens in self.stream():
            squares = self._residual(tokens, experts).double().square().sum(1)
            sums += torch.stack([squares[tokens.fitted].sum(), squares[~tokens.fitted].sum()])
        fitted, held_out = self.total(sums).tolist()
        return fitted, held_out

    def gradients(self, pieces: Iterable[RefitTokens], experts: Sequence[Expert]) -> list[Float[Tensor, "B _ _"]]:
        """Gradients of the squared error of B experts on the tokens of a batch, of all processes.

        Args:
            pieces: the batch's fitted tokens.
            experts: the B experts.

        Returns:
            The gradients with respect to the `fitted_parts` of the experts, stacked.
        """
        leaves = [
            replace(expert, **{name: getattr(expert, name).detach().requires_grad_() for name in fitted_parts(expert)})
            for expert in experts
        ]
        for tokens in pieces:
            with torch.enable_grad():
                squares = self._residual(tokens, leaves).square().sum()
                if squares.requires_grad:
                    torch.autograd.backward(squares)
        return [
            self.total(torch.stack([_gradient(getattr(expert, name)) for expert in leaves]))
            for name in fitted_parts(experts[0])
        ]

    def _residual(self, tokens: RefitTokens, experts: Sequence[Expert]) -> Float[Tensor, "T H"]:
        """y(x) minus what B experts give."""
        given = routed_outputs(tokens, experts, self.which, self.unit)
        return tokens.error.to(given.dtype) - given


def fitted_parts(experts: Expert | ExpertStack) -> tuple[str, ...]:
    """The projections that are fitted, in order: gate and up [D, H] and down [H, D]; up and down without a gate."""
    return tuple(name for name in FITTED if getattr(experts, name) is not None)


def projections(experts: Sequence[Expert]) -> dict[str, Float[Tensor, "B _ _"]]:
    """The `fitted_parts` of B experts, stacked."""
    return {name: torch.stack([getattr(expert, name) for expert in experts]) for name in fitted_parts(experts[0])}


def routed_places(tokens: RefitTokens, which: Sequence[int]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (place in ``which``, rows [R], weights [R, 1]) for each of these experts that any token is routed to."""
    places = {expert: place for place, expert in enumerate(which)}
    for expert, rows, slots in routed_rows(tokens.routing.indices, tokens.routing.logits.shape[1]):
        if expert in places:
            yield places[expert], rows, tokens.routing.weights[rows, slots][:, None]


def routed_outputs(
    tokens: RefitTokens, experts: Sequence[Expert], which: Sequence[int], unit: GatedUnit
) -> Float[Tensor, "T H"]:
    """Weighted outputs of some of a layer's experts added up, in float32 at least.

    Args:
        tokens: their inputs and routing.
        experts: the B experts, in the order of ``which``.
        which: their indices in the layer.
        unit: gated unit of their neurons.
    """
    dtype = product_dtype(experts[0].down.dtype)
    given = torch.zeros(tokens.x.shape, dtype=dtype, device=tokens.x.device)
    for place, rows, weights in routed_places(tokens, which):
        expert = experts[place].to(given.device, dtype)
        output = expert_outputs(neuron_activations(tokens.x[rows].to(dtype), expert, unit), expert)
        given = given.index_add(0, rows, output * weights.to(dtype))
    return given


def _gradient(leaf: Tensor) -> Tensor:
    """The gradient of a leaf; zeros where no token reached it."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
