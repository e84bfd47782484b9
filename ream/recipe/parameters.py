"""The number of parameters of a compressed model."""

import math

from ream.core.recipe import Recipe
from ream.models.family.architecture import Architecture
from ream.models.family.family import RouterTensor
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
        if role is None or (isinstance(role.kind, RouterTensor) and role.kind.numbers):  # a table by token id stays
            total += size
        elif role.expert is None:  # stacked experts, or a router's tensor
            total += size // (architecture.experts + role.kind.beyond) * (kept + role.kind.beyond)
        elif role.expert < kept or role.expert >= architecture.experts:  # all experts have the same size, so the first
            total += size  # K stand for the kept ones; what is beyond all of them stays
    return total
