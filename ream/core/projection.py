"""A layer's neurons by their weights in few dimensions, as REAM's released code compares them in the alignment."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert

DIMENSIONS, SEED = 64, 0  # as in the released code
EPSILON = 1e-8  # added to a length before the division by it, likewise


def weight_rows(expert: Expert) -> Float[Tensor, "D F"]:
    """[gate row, up row, down column] of every neuron of an expert, without a missing gate."""
    parts = [] if expert.gate is None else [expert.gate]
    return torch.cat([*parts, expert.up, expert.down.T], dim=1)


def projected_neurons(
    experts: int, expert: Callable[[int], Expert], dimensions: int = DIMENSIONS
) -> Float[Tensor, "N D Q"]:
    """The normalised weights of all neurons of a layer, projected to their principal components.

    The rows of `weight_rows` of all experts together, each divided by its length, are centred: X, [N·D, F]. With S and
    V of a randomised principal component analysis of rank Q (torch's, seed 0, two iterations; arXiv 0909.4061) the
    result is X · V · diag(S), with each row again divided by its length.

    It is computed on the host and in float32, as the released code does it: the random numbers of a GPU are others, and
    components that were measured by themselves would not be those that the published numbers come from. X is the one
    large tensor.

    Args:
        experts: N.
        expert: loads an expert's weights; one at a time is held.
        dimensions: Q; a layer with fewer neurons or features has as many components as the smaller number.
    """
    rows: Tensor | None = None
    for index in range(experts):
        own = weight_rows(expert(index))
        if rows is None:
            rows = torch.empty(experts, *own.shape, dtype=torch.float32)
        rows[index] = own
        rows[index] /= _lengths(rows[index])
    assert rows is not None
    flat = rows.flatten(0, 1)
    for _ in range(2):  # the second removes what rounding has left of the mean, as torch.pca_lowrank does
        flat -= flat.mean(dim=0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        _, values, directions = torch.svd_lowrank(flat, q=min(dimensions, *flat.shape))
    projected: Tensor = flat @ (directions * values)
    projected /= _lengths(projected)
    return projected.reshape(experts, -1, projected.shape[1])


def _lengths(rows: Float[Tensor, "D F"]) -> Float[Tensor, "D 1"]:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return lengths + EPSILON
