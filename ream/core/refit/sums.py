"""Passes over a layer's tokens for the refit: the normal equations, their product with a change, the errors left.

A token x that is routed to expert j contributes its weighted neuron activations f_j(x) = g_j(x) h_j(x), [D]. A change
X_j [H, D] of that expert's down projection moves the layer's output by X_j f_j(x). Activations are computed as the
model computes them, products of them in float32 at least (float64 where the model is), totals in float64.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit, neuron_activations
from ream.core.pairs import routed_rows
from ream.core.routing import Routing


@dataclass(frozen=True)
class RefitTokens:
    """Tokens of a layer, without padding.

    Attributes:
        x: inputs of the MoE layer.
        routing: how the compressed layer's router routes them.
        error: what the compressed layer's output lacks before the refit, target minus output.
        fitted: True for tokens that are fitted to, False for held-out ones.
    """

    x: Float[Tensor, "T H"]
    routing: Routing
    error: Float[Tensor, "T H"]
    fitted: Bool[Tensor, " T"]


# Starts a pass over all tokens, from the first micro-batch to the last; every call gives the same tokens.
Stream = Callable[[], Iterable[RefitTokens]]
# Adds a total up over all processes that have shared the tokens out; every one of them must call it in the same order.
Total = Callable[[Tensor], Tensor]


def own(total: Tensor) -> Tensor:
    """The total of a single process, which has all tokens."""
    return total


@dataclass(frozen=True)
class CompressedExperts:
    """The experts that are refitted.

    Attributes:
        stack: weights of the K experts.
        unit: gated unit of their neurons.
        total: of all processes that share the tokens.
    """

    stack: ExpertStack
    unit: GatedUnit
    total: Total = own

    def features(self, tokens: RefitTokens) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (expert, rows [R], f_j of those rows [R, D]) for every expert that any of the tokens is routed to."""
        for expert, rows, slots in routed_rows(tokens.routing.indices, len(self.stack)):
            hidden = neuron_activations(tokens.x[rows], self.stack[expert], self.unit)
            hidden = hidden.to(product_dtype(hidden.dtype))
            yield expert, rows, hidden * tokens.routing.weights[rows, slots].to(hidden.dtype)[:, None]

    def zeros(self, *shape: int) -> Tensor:
        """Float64 zeros on the experts' device, to add totals to."""
        return torch.zeros(shape, dtype=torch.float64, device=self.stack.down.device)


@dataclass(frozen=True)
class NormalSums:
    """Sums over tokens that do not depend on the outputs.

    Attributes:
        count: fitted tokens routed to each expert.
        gram: A_j, the sum of f_j(x) f_j(x)^T over fitted tokens.
        fitted_tokens: number of fitted tokens.
        held_out_tokens: number of held-out tokens.
    """

    count: Float64[Tensor, " K"]
    gram: Float64[Tensor, "K D D"]
    fitted_tokens: int
    held_out_tokens: int


def normal_sums(stream: Stream, experts: CompressedExperts) -> NormalSums:
    """The diagonal blocks of the normal equations, and counts, in one pass."""
    count, (_, width) = len(experts.stack), experts.stack.down.shape[1:]
    counts, gram = experts.zeros(count), experts.zeros(count, width, width)
    tokens_seen = experts.zeros(2)
    for tokens in stream():
        tokens_seen += torch.stack([tokens.fitted.sum(), (~tokens.fitted).sum()])
        for expert, _, features in experts.features(subset(tokens, tokens.fitted)):
            counts[expert] += len(features)
            gram[expert] += features.T @ features
    fitted, held_out = (int(number) for number in experts.total(tokens_seen).tolist())
    return NormalSums(experts.total(counts), experts.total(gram), fitted, held_out)


def error_sums(
    stream: Stream, experts: CompressedExperts, outputs: slice, change: Float64[Tensor, "K O D"] | None = None
) -> tuple[Float64[Tensor, "K O D"], Float64[Tensor, " O"], float]:
    """Right-hand sides of the normal equations for O of the outputs, in one pass.

    Args:
        stream: starts a pass over the tokens.
        experts: the layer's experts.
        outputs: which of the H outputs.
        change: a change X of the down projections to begin with: error(x) is what it leaves; None for none.

    Returns:
        B_j = sum of error(x) f_j(x)^T over fitted tokens; the sum of error² over fitted tokens for each output; and
        the sum of error² over held-out tokens and all O outputs.
    """
    count, hidden, width = experts.stack.down.shape
    size = len(range(hidden)[outputs])
    products, fitted, held_out = experts.zeros(count, size, width), experts.zeros(size), experts.zeros()
    for tokens in stream():
        error = tokens.error[:, outputs]
        if change is not None:
            error = error - _moved(list(experts.features(tokens)), len(tokens.x), change)
        squares = error.double().square()
        fitted += squares[tokens.fitted].sum(0)
        held_out += squares[~tokens.fitted].sum()
        fitted_error = error[tokens.fitted]
        for expert, rows, features in experts.features(subset(tokens, tokens.fitted)):
            products[expert] += fitted_error[rows].to(features.dtype).T @ features
    return experts.total(products), experts.total(fitted), float(experts.total(held_out))


def gram_product(
    stream: Stream,
    experts: CompressedExperts,
    direction: Float64[Tensor, "K O D"],
    change: Float64[Tensor, "K O D"],
    outputs: slice,
) -> tuple[Float64[Tensor, "K O D"], float]:
    """The normal equations' matrix times a search direction, in one pass.

    The features of one micro-batch are held while it is worked on: k·D numbers a token.

    Args:
        stream: starts a pass over the tokens.
        experts: the layer's experts.
        direction: P, the search direction.
        change: X, the change before this sweep.
        outputs: which of the H outputs both are of.

    Returns:
        The sum over fitted tokens of (sum_i P_i f_i(x)) f_j(x)^T, cross terms between experts included; and the squared
        error that X leaves on held-out tokens.
    """
    product, held_out = torch.zeros_like(direction), experts.zeros()
    for tokens in stream():
        features = list(experts.features(subset(tokens, tokens.fitted)))
        moved = _moved(features, int(tokens.fitted.sum()), direction)
        for expert, rows, values in features:
            product[expert] += moved[rows].T @ values
        held_out += _squares_left(subset(tokens, ~tokens.fitted), experts, change, outputs).sum()
    return experts.total(product), float(experts.total(held_out))


def squared_errors(
    stream: Stream, experts: CompressedExperts, change: Float64[Tensor, "K O D"], outputs: slice
) -> tuple[Float64[Tensor, " O"], float]:
    """Sums of squared errors that a change of the down projections leaves, in one pass; split as by `error_sums`."""
    fitted, held_out = experts.zeros(change.shape[1]), experts.zeros()
    for tokens in stream():
        fitted += _squares_left(subset(tokens, tokens.fitted), experts, change, outputs)
        held_out += _squares_left(subset(tokens, ~tokens.fitted), experts, change, outputs).sum()
    return experts.total(fitted), float(experts.total(held_out))


def squares_by_group(
    tokens: RefitTokens, group: Int64[Tensor, " T"], groups: int, experts: CompressedExperts, change: Tensor
) -> Float64[Tensor, " S"]:
    """Sums of squared errors over all outputs that a change [K, H, D] leaves on the tokens of each of S groups.

    Args:
        tokens: of a micro-batch.
        group: of each token.
        groups: S.
        experts: the layer's experts.
        change: of all down projections.
    """
    moved = _moved(list(experts.features(tokens)), len(tokens.x), change)
    squares = (tokens.error.double() - moved.double()).square().sum(1)
    return experts.zeros(groups).index_add_(0, group, squares)


def subset(tokens: RefitTokens, mask: Bool[Tensor, " T"]) -> RefitTokens:
    """The tokens where the mask is True; the same object where it is True everywhere."""
    rows = mask.nonzero()[:, 0]
    if len(rows) == len(mask):
        return tokens
    return RefitTokens(tokens.x[rows], tokens.routing.take(rows), tokens.error[rows], tokens.fitted[rows])


def product_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which products of activations are computed: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def _squares_left(tokens: RefitTokens, experts: CompressedExperts, change: Tensor, outputs: slice) -> Tensor:
    """Sum over the tokens of the squared error that a change leaves in each output, [O]."""
    moved = _moved(list(experts.features(tokens)), len(tokens.x), change)
    return (tokens.error[:, outputs].double() - moved.double()).square().sum(0)


def _moved(features: list[tuple[int, Tensor, Tensor]], tokens: int, change: Tensor) -> Tensor:
    """What a change of the down projections adds to the outputs of the tokens, [T, O]."""
    dtype = features[0][2].dtype if features else torch.float32
    moved = torch.zeros(tokens, change.shape[1], dtype=dtype, device=change.device)
    for expert, rows, values in features:
        moved[rows] += values @ change[expert].to(dtype).T
    return moved
