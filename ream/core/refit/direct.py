"""The refit's normal equations solved at once, where their one matrix for all experts is small enough to be kept.

One pass over the tokens takes the whole matrix, cross terms between experts included; one Cholesky factor solves it for
all outputs; one pass measures. The minimum is that of conjugate gradients (`ream.core.refit.conjugate_gradients`), in
two passes instead of one a sweep (docs/refit.md).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from ream.core.refit.solution import SolutionErrors, measured_solution
from ream.core.refit.sums import CompressedExperts, NormalSums, Stream, subset

DEFINITE = 1e-12  # of the largest diagonal entry, added where rounding makes the matrix indefinite; times 10 until not


@dataclass(frozen=True)
class FullSums:
    """Sums over tokens.

    Attributes:
        gram: sum of f_i(x) f_j(x)^T over fitted tokens, for all experts i and j.
        products: B_j, the sum of error(x) f_j(x)^T over fitted tokens.
        fitted: sum of error² over fitted tokens, for each output.
        held_out: sum of error² over held-out tokens and all outputs.
        normal: counts, and the diagonal blocks of the matrix.
    """

    gram: Float64[Tensor, "K D K D"]
    products: Float64[Tensor, "K H D"]
    fitted: Float64[Tensor, " H"]
    held_out: float
    normal: NormalSums


def solved_at_once(
    stream: Stream, experts: CompressedExperts, ridge: float
) -> tuple[Float64[Tensor, "K H D"], SolutionErrors, NormalSums]:
    """The changes of all outputs, their errors, and the sums that a report needs.

    Args:
        stream: starts a pass over the tokens.
        experts: the layer's experts.
        ridge: λ, at least 0.
    """
    sums = full_sums(stream, experts)
    added = ridge * sums.normal.gram.diagonal(dim1=1, dim2=2).mean(1)
    before, held_out_before = [float(sums.fitted.sum())], [sums.held_out]
    change, errors = measured_solution(
        stream, experts, slice(None), solved(sums, added), added, sums.fitted, before, held_out_before
    )
    return change, errors, sums.normal


def full_sums(stream: Stream, experts: CompressedExperts) -> FullSums:
    """The whole matrix and right-hand side, in one pass.

    The features of two experts are multiplied only for tokens that are routed to both.
    """
    count, hidden, width = experts.stack.down.shape
    gram, products = experts.zeros(count, width, count, width), experts.zeros(count, hidden, width)
    counts, fitted, held_out = experts.zeros(count), experts.zeros(hidden), experts.zeros()
    tokens_seen = experts.zeros(2)
    for tokens in stream():
        squares = tokens.error.double().square()
        held_out += squares[~tokens.fitted].sum()
        fitted += squares[tokens.fitted].sum(0)
        kept = subset(tokens, tokens.fitted)
        tokens_seen += torch.stack([tokens.fitted.sum(), (~tokens.fitted).sum()])
        features = list(experts.features(kept))
        place = torch.full((count, len(kept.x)), -1, device=kept.x.device)  # of a token among an expert's; −1: none
        for expert, rows, values in features:
            counts[expert] += len(rows)
            products[expert] += kept.error[rows].to(values.dtype).T @ values
            place[expert, rows] = torch.arange(len(rows), device=rows.device)
        for number, (first, rows, values) in enumerate(features):
            gram[first, :, first] += values.T @ values
            for second, _, second_values in features[number + 1 :]:
                second_places = place[second, rows]
                shared = second_places >= 0
                block = (values[shared].T @ second_values[second_places[shared]]).double()
                gram[first, :, second] += block
                gram[second, :, first] += block.T
    gram, total = experts.total(gram), experts.total
    blocks = torch.stack([gram[expert, :, expert] for expert in range(count)])
    fitted_tokens, held_out_tokens = (int(number) for number in total(tokens_seen).tolist())
    normal = NormalSums(total(counts), blocks, fitted_tokens, held_out_tokens)
    return FullSums(gram, total(products), total(fitted), float(total(held_out)), normal)


def solved(sums: FullSums, ridge: Float64[Tensor, " K"]) -> Float64[Tensor, "K H D"]:
    """The changes X_j that minimise the objective; 0 for an expert without tokens.

    Args:
        sums: of a pass over the tokens.
        ridge: what is added to the diagonal of each expert's block.
    """
    count, hidden, width = sums.products.shape
    matrix = sums.gram.reshape(count * width, count * width).clone()
    diagonal = matrix.diagonal()
    diagonal += ridge.repeat_interleave(width)
    largest = float(diagonal.max())
    if largest == 0.0:
        return torch.zeros_like(sums.products)
    diagonal[diagonal == 0.0] = largest  # experts without tokens, dead neurons: their right-hand side is 0, too
    right = sums.products.permute(0, 2, 1).reshape(count * width, hidden)
    added = 0.0
    factor, failed = torch.linalg.cholesky_ex(matrix)
    while bool(failed):
        more = max(10 * added, DEFINITE * largest)
        matrix.diagonal().add_(more - added)
        added = more
        factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_solve(right, factor).reshape(count, width, hidden).permute(0, 2, 1).contiguous()
