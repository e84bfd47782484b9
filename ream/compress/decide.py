"""Decisions about one layer: which experts are kept, and which are merged into them."""

import numpy as np
from jaxtyping import Bool, Float64

from ream.core.composition import Composition, WeightingKind
from ream.core.grouping import Experts, Groups, grouped, merge_weights
from ream.core.pair_pruning import pair_means
from ream.core.recipe import LayerRecipe
from ream.core.saliency import SALIENCIES, raised
from ream.core.similarity import output_means, similarity
from ream.core.sums import Sums
from ream.core.super_experts import protected
from ream.errors import UserError


def absorbed_at_most(method: Composition, group_size: int) -> int:
    """C, the most experts that a centroid absorbs. The released code's C counts the centroid, too.

    Args:
        method: says how its group size is counted.
        group_size: as the settings have it.

    Raises:
        UserError: the group size leaves no room to absorb an expert.
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
    routed_tokens: Float64[np.ndarray, " N"] | None = None,
    stay: Bool[np.ndarray, " N"] | None = None,
) -> LayerRecipe:
    """Groups and merge weights of one layer, still without permutations.

    Args:
        method: the composition.
        sums: statistics of the layer, settled or of a mix.
        kept: K.
        group_size: C, as the settings count it.
        router_groups: n_group, 1 without group limits.
        saliency: [N] of each expert if computed before; else it is computed from the sums.
        routed_tokens: [N] tokens routed to each expert where the sums are those of a mix, which are means; else they
            are among the sums.
        stay: marks experts that are kept in any case; None where there are none.
    """
    salient = SALIENCIES[method.saliency](sums) if saliency is None else saliency
    if method.raise_zeros:
        salient = raised(salient)
    clusters = method.grouping == "hierarchical"
    experts = Experts(
        saliency=salient if stay is None else protected(salient, stay),
        similarity=similarity(method.similarity, sums) if method.similarity and not clusters else None,
        means=output_means(method.similarity[0], sums) if clusters else None,
        pairs=pair_means(sums) if method.grouping == "hope" else None,
    )
    groups = grouped(method.grouping, experts, kept, absorbed_at_most(method, group_size), router_groups)
    routed = (sums.count if routed_tokens is None else routed_tokens).copy()  # frequency's saliency is the same array
    weights = merge_weights(_weighed(method.weighting, salient, sums, groups), groups)
    return LayerRecipe(groups, weights, salient, routed_tokens=routed)


def _weighed(
    kind: WeightingKind, saliency: Float64[np.ndarray, " N"], sums: Sums, groups: Groups
) -> Float64[np.ndarray, " N"]:
    """What each expert weighs in its group's mean, before the weights of a group are divided by their sum."""
    weights: dict[WeightingKind, np.ndarray] = {
        "saliency": saliency,
        "squared-saliency": saliency**2,
        "frequency": sums.count,
        "equal": np.ones_like(saliency),
        "centroid": np.isin(np.arange(len(saliency)), groups.kept).astype(np.float64),
    }
    return weights[kind]


def absorbed(layer: LayerRecipe) -> dict[int, list[int]]:
    """Centroid to the experts that it absorbs, for all groups that absorb any."""
    groups = layer.groups
    members = {
        int(centroid): [int(member) for member in groups.members(position) if member != centroid]
        for position, centroid in enumerate(groups.kept)
    }
    return {centroid: others for centroid, others in members.items() if others}
