"""The number of experts in each group of a recipe."""

import numpy as np
from jaxtyping import Int64

from ream.core.recipe import Recipe


def group_sizes(recipe: Recipe) -> Int64[np.ndarray, "L K"]:
    """Experts in each group, the centroid included, in decreasing order in each layer; dropped experts are in none.

    Raises:
        ValueError: the recipe has no layers, or its layers keep different numbers of experts.
    """
    kept = {len(layer.groups.kept) for layer in recipe.layers.values()}
    if len(kept) != 1:
        raise ValueError("group sizes need layers that keep one number of experts")
    sizes = [
        np.sort(np.bincount(layer.groups.group[layer.groups.group >= 0], minlength=len(layer.groups.kept)))[::-1]
        for _, layer in sorted(recipe.layers.items())
    ]
    return np.stack(sizes).astype(np.int64)
