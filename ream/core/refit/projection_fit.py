"""Fitting the gate, up and down projections of a layer's experts together (docs/refit.md; beyond the REAM paper).

Non-linear least squares on one layer: minimise

    sum over fitted x of ‖y(x) − sum over j in T(x) of g_j(x) (W_down_j unit(W_gate_j x, W_up_j x) + b_j)‖²

over the projections; routing, biases and everything outside of the layer stay. There is no closed form. It goes down
by L-BFGS (Liu and Nocedal, 1989; torch's, with a line search that satisfies the strong Wolfe conditions), in
coordinates in which the curvature is about the same in all directions. With an expert's tokens, and L a Cholesky factor
of the mean of x x^T, the gate row of neuron n is

    W_n = W_n⁰ + s · V_n L⁻¹ / sqrt(sum of (g ∂unit/∂gate_n)² · ‖W_down_n‖²)

an up row the same with ∂unit/∂up_n, and a down projection W⁰ + s · V M⁻¹ with M a factor of the sum of f f^T,
f = g unit(...): Gauss and Newton's matrix without what couples neurons, or projections. s² is the error at the start.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert, ExpertStack, GatedUnit, expert_outputs, neuron_activations, scaled_inputs
from ream.core.pairs import routed_rows
from ream.core.refit.sums import RefitTokens, Stream, chosen, product_dtype

FITTED = ("gate", "up", "down")
ROUND = 10
TINY = 1e-12  # of a scale that is zero


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes:
        iterations: of L-BFGS at most; one is about one pass over the tokens.
        round: iterations between two measurements; the fit ends with a round that does not lower the error on held-out
            tokens, or on fitted ones where none are held out, and is undone to where that round began.
        history: pairs of steps and gradients that L-BFGS keeps.
        damping: of the matrices' mean diagonals, added to them.
    """

    iterations: int
    round: int = ROUND
    history: int = 5
    damping: float = 0.1


@dataclass(frozen=True)
class FitReport:
    """Squared errors before and after each round that stood, summed over tokens and outputs.

    Attributes:
        fitted: on fitted tokens. held_out: on tokens held out; all zeros where there are none.
    """

    fitted: list[float]
    held_out: list[float]


def fit_projections(
    stream: Stream, stack: ExpertStack, unit: GatedUnit, which: Sequence[int], settings: FitSettings
) -> tuple[dict[str, Float[Tensor, "B _ _"]], FitReport]:
    """New projections of some of a layer's experts.

    Args:
        stream: starts a pass over the tokens; ``error`` is y(x), what these experts together are to give. Most
            iterations take one pass; a round takes two more, and the beginning two.
        stack: the K experts. unit: of their neurons.
        which: those B to fit. settings: see there.

    Returns:
        gate, up [B, D, H] and down [B, H, D] in float32 at least, and what they do. An expert that no fitted token is
        routed to keeps its weights bit for bit, and so do all where nothing is gained.
    """
    dtype = product_dtype(stack.down.dtype)
    experts = [stack[expert].to(stack.down.device, dtype) for expert in which]
    errors = [_errors(stream, experts, which, unit)]
    if errors[0][0] == 0.0:
        return _projections(experts), FitReport([errors[0][0]], [errors[0][1]])
    scale = errors[0][0] ** 0.5
    coordinates = [_Coordinates(own, scale) for own in _matrices(stream, experts, which, unit, settings.damping)]
    moves = [torch.zeros_like(tensor).requires_grad_() for tensor in _projections(experts).values()]
    best = [move.detach().clone() for move in moves]
    optimizer = torch.optim.LBFGS(
        moves,
        max_iter=settings.round,
        history_size=settings.history,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=1e-12,
    )

    def moved() -> list[Expert]:
        return [
            own.moved(expert, [move.detach()[row] for move in moves])
            for row, (own, expert) in enumerate(zip(coordinates, experts, strict=True))
        ]

    def closure() -> float:
        value, gradients = _gradient(stream, moved(), which, unit)
        for row, own in enumerate(coordinates):
            for move, gradient in zip(moves, own.gradient(gradients[row]), strict=True):
                assert move.grad is not None
                move.grad[row] = gradient / errors[0][0]
        return value / errors[0][0]

    for move in moves:
        move.grad = torch.zeros_like(move)
    for start in range(0, settings.iterations, settings.round):
        optimizer.param_groups[0]["max_iter"] = min(settings.round, settings.iterations - start)
        optimizer.param_groups[0]["max_eval"] = optimizer.param_groups[0]["max_iter"] * 5 // 4
        optimizer.step(closure)
        now = _errors(stream, moved(), which, unit)
        if not now[0] < errors[-1][0] or now[1] > errors[-1][1]:  # or not a number
            break
        errors.append(now)
        best = [move.detach().clone() for move in moves]
    with torch.no_grad():
        for move, value in zip(moves, best, strict=True):
            move.copy_(value)
    return _projections(moved()), FitReport([each[0] for each in errors], [each[1] for each in errors])


@dataclass(frozen=True)
class _Matrices:
    """What an expert's coordinates are made of.

    Attributes:
        inputs: L⁻¹. hidden: M⁻¹.
        gate, up: one number a neuron.
        used: whether a fitted token is routed to the expert.
    """

    inputs: Float[Tensor, "H H"]
    hidden: Float[Tensor, "D D"]
    gate: Float[Tensor, " D"]
    up: Float[Tensor, " D"]
    used: bool


class _Coordinates:
    """Between what L-BFGS moves, V, and the projections of one expert."""

    def __init__(self, matrices: _Matrices, scale: float) -> None:
        self._own, self._scale = matrices, scale

    def moved(self, expert: Expert, moves: Sequence[Tensor]) -> Expert:
        """The expert with its projections moved by V of gate, up and down."""
        own, (gate, up, down) = self._own, moves
        if not own.used:
            return expert
        return replace(
            expert,
            gate=expert.gate + self._scale * own.gate[:, None] * (gate @ own.inputs),
            up=expert.up + self._scale * own.up[:, None] * (up @ own.inputs),
            down=expert.down + self._scale * down @ own.hidden,
        )

    def gradient(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """With respect to V, of those with respect to gate, up and down."""
        own, (gate, up, down) = self._own, gradients
        if not own.used:
            return [torch.zeros_like(each) for each in gradients]
        return [
            self._scale * own.gate[:, None] * (gate @ own.inputs.T),
            self._scale * own.up[:, None] * (up @ own.inputs.T),
            self._scale * down @ own.hidden.T,
        ]


def _projections(experts: Sequence[Expert]) -> dict[str, Tensor]:
    return {name: torch.stack([getattr(expert, name) for expert in experts]) for name in FITTED}


def _routed(tokens: RefitTokens, which: Sequence[int]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each expert that has tokens here: its place in ``which``, their rows [R] and weights [R, 1]."""
    places = {expert: place for place, expert in enumerate(which)}
    for expert, rows, slots in routed_rows(tokens.routing.indices, tokens.routing.logits.shape[1]):
        if expert in places:
            yield places[expert], rows, tokens.routing.weights[rows, slots][:, None]


def routed_outputs(
    tokens: RefitTokens, experts: Sequence[Expert], which: Sequence[int], unit: GatedUnit
) -> Float[Tensor, "T H"]:
    """What some of a layer's experts give together, in float32 at least.

    Args:
        tokens: inputs and routing. experts: those, in the order of ``which``, their indices. unit: of their neurons.
    """
    dtype = product_dtype(experts[0].down.dtype)
    given = torch.zeros(tokens.x.shape, dtype=dtype, device=tokens.x.device)
    for place, rows, weights in _routed(tokens, which):
        expert = experts[place].to(given.device, dtype)
        output = expert_outputs(neuron_activations(tokens.x[rows].to(dtype), expert, unit), expert)
        given = given.index_add(0, rows, output * weights.to(dtype))
    return given


def _left(tokens: RefitTokens, experts: Sequence[Expert], which: Sequence[int], unit: GatedUnit) -> Tensor:
    """What the experts leave of what they are to give, [T, H]."""
    given = routed_outputs(tokens, experts, which, unit)
    return tokens.error.to(given.dtype) - given


def _pre_activations(x: Tensor, expert: Expert) -> tuple[Tensor, Tensor]:
    """Gate and up of inputs that are scaled already, [R, D] each."""
    gate, up = x @ expert.gate.T, x @ expert.up.T
    return (
        gate if expert.gate_bias is None else gate + expert.gate_bias,
        up if expert.up_bias is None else up + expert.up_bias,
    )


@torch.no_grad()
def _errors(stream: Stream, experts: Sequence[Expert], which: Sequence[int], unit: GatedUnit) -> tuple[float, float]:
    """One pass: squared errors on fitted and on held-out tokens."""
    sums = torch.zeros(2, dtype=torch.float64, device=experts[0].down.device)
    for tokens in stream():
        squares = _left(tokens, experts, which, unit).double().square().sum(1)
        sums += torch.stack([squares[tokens.fitted].sum(), squares[~tokens.fitted].sum()])
    fitted, held_out = sums.tolist()
    return fitted, held_out


def _gradient(
    stream: Stream, experts: Sequence[Expert], which: Sequence[int], unit: GatedUnit
) -> tuple[float, list[list[Tensor]]]:
    """One pass: the squared error on fitted tokens, and its gradients of each expert's projections."""
    leaves = [
        replace(expert, **{name: getattr(expert, name).detach().requires_grad_() for name in FITTED})
        for expert in experts
    ]
    total = torch.zeros((), dtype=torch.float64, device=experts[0].down.device)
    for tokens in stream():
        taken = chosen(tokens, tokens.fitted)
        if not len(taken.x):
            continue
        with torch.enable_grad():
            squares = _left(taken, leaves, which, unit).square().sum()
            if squares.requires_grad:
                squares.backward()
        total += squares.detach()
    return float(total), [
        [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in map(expert.__getattribute__, FITTED)]
        for expert in leaves
    ]


def _matrices(
    stream: Stream, experts: Sequence[Expert], which: Sequence[int], unit: GatedUnit, damping: float
) -> list[_Matrices]:
    """One pass for the coordinates of all."""
    device, dtype = experts[0].down.device, experts[0].down.dtype
    hidden, width = experts[0].down.shape
    count = torch.zeros(len(experts), dtype=torch.float64, device=device)
    inputs = torch.zeros(len(experts), hidden, hidden, dtype=dtype, device=device)
    outputs = torch.zeros(len(experts), width, width, dtype=dtype, device=device)
    slopes = torch.zeros(len(experts), 2, width, dtype=torch.float64, device=device)
    for tokens in stream():
        taken = chosen(tokens, tokens.fitted)
        for place, rows, weights in _routed(taken, which):
            expert = experts[place]
            x = scaled_inputs(taken.x[rows].to(dtype), expert)
            with torch.enable_grad():
                gate, up = (each.detach().requires_grad_() for each in _pre_activations(x, expert))
                answer = unit(gate, up)
                derivatives = torch.autograd.grad(answer.sum(), (gate, up))
            features = answer.detach() * weights.to(dtype)
            count[place] += len(rows)
            inputs[place] += x.T @ x
            outputs[place] += features.T @ features
            slopes[place] += torch.stack([(each * weights).double().square().sum(0) for each in derivatives])
    found = []
    for place, expert in enumerate(experts):
        used = bool(count[place])
        scales = slopes[place] * expert.down.double().square().sum(0)
        scales += damping * scales.mean(1, keepdim=True) + TINY
        gate, up = scales.rsqrt().to(dtype)
        mean = inputs[place] / count[place].clamp_min(1.0)
        found.append(_Matrices(_inverse(mean, damping), _inverse(outputs[place], damping), gate, up, used))
    return found


def _inverse(matrix: Tensor, damping: float) -> Tensor:
    """Of the Cholesky factor of a damped matrix, in the matrix' dtype."""
    double = matrix.to(torch.float64, copy=True)
    double.diagonal().add_(damping * double.diagonal().mean() + TINY)
    factor = torch.linalg.cholesky(double)
    eye = torch.eye(len(double), dtype=torch.float64, device=double.device)
    return torch.linalg.solve_triangular(factor, eye, upper=False).to(matrix.dtype)
