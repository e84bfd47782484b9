"""A recipe: everything that is needed, with the original checkpoint, to write the compressed one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ream.core.grouping import Groups

PROJECTIONS = ("down", "gate", "up")  # the projections that a correction can replace


@dataclass(frozen=True)
class LayerRecipe:
    """How the experts of one layer are merged.

    Attributes:
        groups: the kept experts and the group of each original expert.
        weights: weight of each expert in its group's mean; 0 for dropped experts.
        saliency: saliency of each expert, by which groups and weights were decided.
        permutations: for every absorbed expert, the order in which its neurons are merged with the centroid's, [D].
        neurons: where groups are merged by choosing neurons (`ream.core.refit.neuron_choice`), the chosen neurons of
            every group of several experts, by position among the kept experts: indices into its members' neurons one
            after the other, [D]. Such a layer has no permutations, and a group's router row is the weighted mean of its
            members' rows.
        corrections: refitted projections by position among the kept experts: ``down`` [H, D], or ``down``, ``gate``
            (where there is one) and ``up`` [D, H], torch tensors that replace the merged projections; in the
            checkpoint's dtype, or bfloat16 where the checkpoint is quantised. All corrected experts have the same
            projections corrected. A recipe has a few MB without corrections, and with them the size of these
            projections, so the mapping may read them from a file one by one.
        router: refitted rows of the router for the kept experts (`ream.core.refit.router_rows`), which replace the
            original's; cast to the checkpoint's dtype when they are written. None where the rows are the original's.
        routed_tokens: number of calibration tokens routed to each expert, over all sources of the mix; None in recipes
            of earlier versions.
    """

    groups: Groups
    weights: Float64[np.ndarray, " N"]
    saliency: Float64[np.ndarray, " N"]
    permutations: Mapping[int, Int64[np.ndarray, " D"]] = field(default_factory=dict)
    neurons: Mapping[int, Int64[np.ndarray, " D"]] = field(default_factory=dict)
    corrections: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    routed_tokens: Float64[np.ndarray, " N"] | None = None
    router: Float32[np.ndarray, "K H"] | None = None

    @property
    def corrected(self) -> frozenset[str]:
        """Names of the projections that are corrected; empty where there are no corrections."""
        first = next(iter(self.corrections), None)
        return frozenset() if first is None else frozenset(self.corrections[first])


@dataclass(frozen=True)
class Recipe:
    """A model's recipe.

    Attributes:
        layers: the recipe of each MoE layer, by layer index.
        facts: original model, method, mix, number of experts, and how the recipe was made.
    """

    layers: Mapping[int, LayerRecipe]
    facts: Mapping[str, Any]


def check_layer(layer: LayerRecipe, experts: int, width: int) -> None:
    """Refuse a layer recipe that is inconsistent or does not fit a layer of N experts of width D.

    Args:
        layer: the recipe.
        experts: N.
        width: D.

    Raises:
        ValueError: what does not fit.
    """
    kept, group = layer.groups.kept, layer.groups.group
    if len(group) != experts:
        raise ValueError(f"the recipe is for {len(group)} experts, the layer has {experts}")
    if len(layer.weights) != experts:
        raise ValueError(f"the recipe has {len(layer.weights)} merge weights, the layer has {experts} experts")
    if layer.routed_tokens is not None and len(layer.routed_tokens) != experts:
        raise ValueError(f"the recipe has {len(layer.routed_tokens)} token counts, the layer has {experts} experts")
    if not len(kept) or kept.min() < 0 or kept.max() >= experts or (np.diff(kept) <= 0).any():
        raise ValueError("kept experts are not ascending indices of the layer's experts")
    if group.min() < -1 or group.max() >= len(kept) or (group[kept] != np.arange(len(kept))).any():
        raise ValueError("groups do not match the kept experts")
    if layer.router is not None and len(layer.router) != len(kept):
        raise ValueError(f"the recipe has {len(layer.router)} router rows for {len(kept)} kept experts")
    totals = np.bincount(group[group >= 0], layer.weights[group >= 0], minlength=len(kept))
    if not np.allclose(totals, 1.0, rtol=1e-5, atol=1e-9) or not (layer.weights[group < 0] == 0).all():
        raise ValueError("merge weights do not sum to 1 in every group")
    absorbed = set(np.flatnonzero(group >= 0).tolist()) - set(kept.tolist())
    if layer.neurons:
        _check_neurons(layer, width)
    elif set(layer.permutations) != absorbed:
        raise ValueError("permutations do not match the absorbed experts")
    for expert, permutation in layer.permutations.items():
        if not np.array_equal(np.sort(permutation), np.arange(width)):
            raise ValueError(f"expert {expert}: not a permutation of {width} neurons")
    for position in layer.corrections:
        if not 0 <= position < len(kept):
            raise ValueError(f"a correction is for kept expert {position}, but there are {len(kept)}")
    for position in list(layer.corrections)[:1]:  # all have the same shapes, and each has to be read
        for part, tensor in layer.corrections[position].items():
            if part not in PROJECTIONS:
                raise ValueError(f"a correction is for '{part}', which is not one of {', '.join(PROJECTIONS)}")
            shape = tuple(tensor.shape)
            if len(shape) != 2 or shape[1 if part == "down" else 0] != width:
                raise ValueError(
                    f"corrections of {part} have shape {list(shape)}, but the layer's experts have {width} neurons"
                )


def _check_neurons(layer: LayerRecipe, width: int) -> None:
    """Refuse chosen neurons that do not fit the groups.

    Raises:
        ValueError: what does not fit.
    """
    sizes = np.bincount(layer.groups.group[layer.groups.group >= 0], minlength=len(layer.groups.kept))
    if layer.permutations or set(layer.neurons) != set(np.flatnonzero(sizes > 1).tolist()):
        raise ValueError("chosen neurons do not match the groups of several experts")
    for position, neurons in layer.neurons.items():
        total = int(sizes[position]) * width
        if len(neurons) != width or (np.diff(neurons) <= 0).any() or neurons[0] < 0 or neurons[-1] >= total:
            raise ValueError(f"kept expert {position}: not {width} ascending indices of {total} neurons")
