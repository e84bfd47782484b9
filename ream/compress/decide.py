"""From a method's name tags to decisions: which experts stay, who is merged into whom, and how their neurons meet."""

import numpy as np
from jaxtyping import Float64

from ream.core.composition import Composition
from ream.core.grouping import Experts, grouped, merge_weights
from ream.core.recipe import LayerRecipe
from ream.core.saliency import SALIENCIES
from ream.core.similarity import output_means, similarity
from ream.core.sums import Sums
from ream.errors import UserError


def absorbed_at_most(method: Composition, group_size: int) -> int:
    """C as docs/method.md counts it; the released code counts the centroid, too.

    Raises:
        UserError: nothing could be absorbed.
    """
    size = group_size - 1 if method.centroid_counts else group_size
    if size < 1:
        raise UserError("grouping.group_size: 1 with centroid_counts leaves no room to absorb; use at least 2")
    return size


def group_layer(
    method: Composition,
    sums: Sums,
    kept: int,
    group_size: int,
    router_groups: int,
    saliency: Float64[np.ndarray, " N"] | None = None,
) -> LayerRecipe:
    """Groups and merge weights of one layer, without permutations yet.

    Args:
        method: the composition.
        sums: statistics of the layer, of one pass or of a mix.
        kept: K. group_size: C. router_groups: n_group.
        saliency: of each expert, where it has been computed before.
    """
    salient = SALIENCIES[method.saliency](sums) if saliency is None else saliency
    clusters = method.grouping == "hierarchical"
    experts = Experts(
        saliency=salient,
        similarity=similarity(method.similarity, sums) if method.similarity and not clusters else None,
        means=output_means(method.similarity[0], sums) if clusters else None,
    )
    groups = grouped(method.grouping, experts, kept, absorbed_at_most(method, group_size), router_groups)
    return LayerRecipe(groups, merge_weights(salient, groups), salient)


def absorbed(layer: LayerRecipe) -> dict[int, list[int]]:
    """Each centroid's members without itself, of the groups that have any."""
    groups = layer.groups
    found = {
        int(centroid): [int(member) for member in groups.members(position) if member != centroid]
        for position, centroid in enumerate(groups.kept)
    }
    return {centroid: members for centroid, members in found.items() if members}
