"""The number of parameters of a compressed model."""

import math

from ream.core.recipe import Recipe
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.multi_token import left_out_tensors


def output_parameters(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> int:
    """The parameters of the compressed model; scales and zero points of quantised tensors are not counted."""
    kept = len(next(iter(recipe.layers.values())).groups.kept)
    left_out = left_out_tensors(checkpoint, architecture, recipe)
    total = 0
    for name in checkpoint.logical:
        if name in left_out:
            continue
        size, role = math.prod(checkpoint.shape(name)), architecture.roles.get(name)
        if role is None:
            total += size
        elif role.expert is None:  # stacked experts, or a router's tensor
            total += size // architecture.experts * kept
        elif role.expert < kept:  # all experts have the same size, so the first K stand for the kept ones
            total += size
    return total
