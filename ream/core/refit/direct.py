"""The refit's normal equations with one matrix for all experts, where it is small enough to be kept (docs/refit.md).

One pass over the tokens takes all of it, cross terms between experts and all; one Cholesky factor solves it for all
outputs. The same minimum as conjugate gradients find (`ream.core.refit.refit`), in two passes instead of one a sweep.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from ream.core.refit.sums import CompressedExperts, NormalSums, Stream, chosen

DEFINITE = 1e-12  # of the largest diagonal entry, added where rounding makes the matrix indefinite; times 10 until not


@dataclass(frozen=True)
class FullSums:
    """Sums over tokens.

    Attributes:
        gram: of f_i(x) f_j(x)^T for all experts i and j, over fitted tokens.
        products: B_j, of error(x) f_j(x)^T over fitted tokens.
        fitted: of error² over fitted tokens, for each output. held_out: over held-out tokens, for all outputs.
        normal: counts, and the diagonal blocks of the matrix.
    """

    gram: Float64[Tensor, "K D K D"]
    products: Float64[Tensor, "K H D"]
    fitted: Float64[Tensor, " H"]
    held_out: float
    normal: NormalSums


def full_sums(stream: Stream, experts: CompressedExperts) -> FullSums:
    """One pass over the tokens; of two experts' features those of the tokens that both are given are multiplied."""
    count, hidden, width = experts.stack.down.shape
    gram, products = experts.zeros(count, width, count, width), experts.zeros(count, hidden, width)
    counts, fitted, held_out = experts.zeros(count), experts.zeros(hidden), experts.zeros()
    fitted_tokens = held_out_tokens = 0
    for tokens in stream():
        squares = tokens.error.double().square()
        held_out += squares[~tokens.fitted].sum()
        held_out_tokens += int((~tokens.fitted).sum())
        taken = chosen(tokens, tokens.fitted)
        fitted += squares[tokens.fitted].sum(0)
        fitted_tokens += len(taken.x)
        features = list(experts.features(taken))
        place = torch.full((count, len(taken.x)), -1, device=taken.x.device)  # of a token among an expert's
        for expert, rows, values in features:
            counts[expert] += len(rows)
            products[expert] += taken.error[rows].to(values.dtype).T @ values
            place[expert, rows] = torch.arange(len(rows), device=rows.device)
        for number, (first, rows, values) in enumerate(features):
            gram[first, :, first] += values.T @ values
            for second, _, others in features[number + 1 :]:
                there = place[second, rows]
                both = there >= 0
                block = (values[both].T @ others[there[both]]).double()
                gram[first, :, second] += block
                gram[second, :, first] += block.T
    blocks = torch.stack([gram[expert, :, expert] for expert in range(count)])
    normal = NormalSums(counts, blocks, fitted_tokens, held_out_tokens)
    return FullSums(gram, products, fitted, float(held_out), normal)


def solved(sums: FullSums, ridge: Float64[Tensor, " K"]) -> Float64[Tensor, "K H D"]:
    """The changes X_j that minimise the objective; 0 for an expert without tokens.

    Args:
        sums: of a pass. ridge: what is added to the diagonal of each expert's block.
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
