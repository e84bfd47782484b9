"""The refit with the ridge λ that leaves the least error on held-out sequences (docs/refit.md).

λ begins within a short list and goes down it while that lowers the error; where the first step down does not, it goes
up. The ridge is counted in tokens: expert j's block gets

    λ · mean(diag A_j) · T̄ / T_j

with T_j its fitted tokens and T̄ their mean over the experts that have any. A_j grows with T_j, so that every expert is
drawn to its weights by the same number of tokens, λ T̄; those with few tokens, which overfit, stay nearer to them. A
solution that all experts share has no meaning to be drawn to: neuron n of one expert has nothing to do with neuron n of
another.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit
from ream.core.refit.conjugate_gradients import block_factors, swept
from ream.core.refit.direct import full_sums, solved
from ream.core.refit.refit import RefitSettings
from ream.core.refit.sums import (
    CompressedExperts,
    NormalSums,
    RefitTokens,
    Stream,
    Total,
    normal_sums,
    own,
    squares_by_group,
)

RIDGES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # λ, the strongest first
BEGIN = 0.03  # the first that is tried where nothing is known


@dataclass(frozen=True)
class HeldOut:
    """The tokens by which something is chosen.

    Attributes:
        stream: starts a pass over them; yields the tokens of a micro-batch and the source of each.
        sources: S, the number of sources.
        score: what is made as small as possible, of the squared errors of each source.
    """

    stream: Callable[[], Iterable[tuple[RefitTokens, Int64[Tensor, " T"]]]]
    sources: int
    score: Callable[[Float64[Tensor, " S"]], float]


@dataclass(frozen=True)
class ChosenRefit:
    """The refit with the chosen ridge.

    Attributes:
        down: the down projections.
        ridge: λ; None where the weights from before the refit leave less than any.
        tokens: fitted tokens routed to each expert.
    """

    down: Float32[Tensor, "K H D"]
    ridge: float | None
    tokens: list[int]


@torch.no_grad()
def refit_with_chosen_ridge(
    stream: Stream,
    held_out: HeldOut,
    stack: ExpertStack,
    unit: GatedUnit,
    settings: RefitSettings,
    total: Total = own,
    begin: float = BEGIN,
    alone: bool = False,
) -> ChosenRefit:
    """New down projections of a compressed layer's experts; arguments as of `refit`, whose ``ridge`` is not used.

    Conjugate gradients start from the solution of the λ before, so that a list of λ takes few more sweeps than its last
    one by itself. Ties go to the stronger ridge.

    Args:
        stream: of the fitted tokens.
        held_out: by which λ is chosen.
        stack: the experts.
        unit: their gated unit.
        settings: of the solver.
        total: adds up what all ranks have.
        begin: λ that is tried first, one of RIDGES.
        alone: try no other λ.
    """
    experts = CompressedExperts(stack, unit, total)
    at_once = len(stack) * stack.down.shape[2] <= settings.direct
    normal, solution = (_at_once if at_once else _by_sweeps)(stream, experts, settings)
    best, chosen = torch.zeros_like(stack.down, dtype=torch.float32), None
    least = _score(held_out, experts, best)

    def left(ridge: float) -> float:
        """The score with a λ, whose solution is kept if it is the best so far."""
        nonlocal best, chosen, least
        change = solution(ridge)
        score = _score(held_out, experts, change)
        if score < least or (chosen is not None and score == least and ridge > chosen):
            best, chosen, least = change.clone(), ridge, score
        return score if score == score else torch.inf

    _descend(left, begin, (begin,) if alone else RIDGES)
    return ChosenRefit(
        (stack.down.double() + best.double()).float(), chosen, [int(count) for count in normal.count.tolist()]
    )


def most_tried(begin: float) -> int:
    """The largest number of λ that are tried from one on: all weaker ones, or one of them and all stronger ones."""
    weaker = len(RIDGES) - 1 - RIDGES.index(begin)
    return 1 + max(weaker, min(weaker, 1) + RIDGES.index(begin))


def _descend(left: Callable[[float], float], begin: float, ridges: Sequence[float]) -> None:
    """Go from one λ to weaker ones while the score falls; where the first does not, to stronger ones.

    Args:
        left: the score with a λ.
        begin: the first λ.
        ridges: λ, the strongest first.
    """
    place = ridges.index(begin)
    first = previous = left(begin)
    for ridge in ridges[place + 1 :]:
        if not (score := left(ridge)) < previous:
            break
        previous = score
    if previous < first:
        return
    for ridge in reversed(ridges[:place]):
        if not (score := left(ridge)) <= previous:
            return
        previous = score


def ridges(normal: NormalSums, strength: float) -> Float64[Tensor, " K"]:
    """What is added to the diagonal of each expert's block; 0 for an expert without tokens.

    Args:
        normal: sums over fitted tokens.
        strength: λ.
    """
    used = normal.count > 0
    mean = normal.count.sum() / used.sum().clamp_min(1)
    diagonal = normal.gram.diagonal(dim1=1, dim2=2).mean(1)
    return torch.where(used, strength * diagonal * mean / normal.count.clamp_min(1.0), 0.0)


def _score(held_out: HeldOut, experts: CompressedExperts, change: Float[Tensor, "K H D"]) -> float:
    """The score of a change of the down projections, in one pass over the held-out tokens."""
    errors = experts.zeros(held_out.sources)
    for tokens, source in held_out.stream():
        errors += squares_by_group(tokens, source, held_out.sources, experts, change)
    return held_out.score(experts.total(errors))


def _at_once(
    stream: Stream, experts: CompressedExperts, settings: RefitSettings
) -> tuple[NormalSums, Callable[[float], Float[Tensor, "K H D"]]]:
    """The sums, and the change for a λ, each from one matrix."""
    sums = full_sums(stream, experts)
    return sums.normal, lambda strength: solved(sums, ridges(sums.normal, strength))


def _by_sweeps(
    stream: Stream, experts: CompressedExperts, settings: RefitSettings
) -> tuple[NormalSums, Callable[[float], Float[Tensor, "K H D"]]]:
    """The sums, and the change for a λ by conjugate gradients; each call overwrites the tensor of the one before."""
    normal = normal_sums(stream, experts)
    change = torch.zeros_like(experts.stack.down, dtype=torch.float32)  # half the memory of a total
    started = False

    def solution(strength: float) -> Float[Tensor, "K H D"]:
        nonlocal started
        hidden = experts.stack.down.shape[1]
        step, ridge = settings.outputs or hidden, ridges(normal, strength)
        factors = block_factors(normal.gram, ridge)
        for begin in range(0, hidden, step):
            outputs = slice(begin, min(begin + step, hidden))
            start = change[:, outputs].double() if started else None
            change[:, outputs] = swept(
                stream, experts, outputs, ridge, factors, settings.sweeps, settings.tolerance, start
            ).change.float()
        started = True
        return change

    return normal, solution
