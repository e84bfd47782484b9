"""A recipe: all that is needed, with the original checkpoint, to make the compressed one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from ream.core.grouping import Groups

PROJECTIONS = ("down", "gate", "up")  # what a correction can be of


@dataclass(frozen=True)
class LayerRecipe:
    """What becomes of the experts of one layer.

    Attributes:
        groups: kept experts and the group of each original expert.
        weights: of each expert in its group's mean; 0 for dropped ones.
        saliency: that decided it.
        permutations: for every absorbed expert, the order in which its neurons meet the centroid's, [D].
        neurons: for every kept expert that others are merged into by choosing neurons
            (`ream.core.refit.neuron_choice`), the chosen ones as indices into its members'
            neurons, [D]. There are no permutations then, and the router's rows are means over the members, by their
            weights.
        corrections: refitted projections by position among the kept experts: ``down`` [H, D], or ``down``, ``gate`` and
            ``up`` [D, H], torch tensors that take the merged ones' places; in the checkpoint's dtype, bfloat16 where
            the checkpoint is quantised. All that are corrected have the same ones. Without them a recipe has a few MB;
            with them it has the size of these projections, so they may lie in a file, read as they are asked for.
    """

    groups: Groups
    weights: Float64[np.ndarray, " N"]
    saliency: Float64[np.ndarray, " N"]
    permutations: Mapping[int, Int64[np.ndarray, " D"]] = field(default_factory=dict)
    neurons: Mapping[int, Int64[np.ndarray, " D"]] = field(default_factory=dict)
    corrections: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def corrected(self) -> frozenset[str]:
        """Which projections of the corrected experts are; empty where none is."""
        first = next(iter(self.corrections), None)
        return frozenset() if first is None else frozenset(self.corrections[first])


@dataclass(frozen=True)
class Recipe:
    """Layer index to LayerRecipe, and the facts: original model, method, mix, experts, how it was made."""

    layers: Mapping[int, LayerRecipe]
    facts: Mapping[str, Any]


def check_layer(layer: LayerRecipe, experts: int, width: int) -> None:
    """Refuse a layer recipe that does not fit a layer of N experts of width D.

    Raises:
        ValueError: says what does not fit.
    """
    kept, group = layer.groups.kept, layer.groups.group
    if len(group) != experts:
        raise ValueError(f"the recipe is for {len(group)} experts, the layer has {experts}")
    if len(layer.weights) != experts:
        raise ValueError(f"the recipe has {len(layer.weights)} merge weights, the layer has {experts} experts")
    if not len(kept) or kept.min() < 0 or kept.max() >= experts or (np.diff(kept) <= 0).any():
        raise ValueError("kept experts are not ascending indices of the layer's experts")
    if group.min() < -1 or group.max() >= len(kept) or (group[kept] != np.arange(len(kept))).any():
        raise ValueError("groups do not match the kept experts")
    totals = np.bincount(group[group >= 0], layer.weights[group >= 0], minlength=len(kept))
    if not np.allclose(totals, 1.0, atol=1e-9) or not (layer.weights[group < 0] == 0).all():
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
            raise ValueError(f"a correction is of kept expert {position}, there are {len(kept)}")
    for position in list(layer.corrections)[:1]:  # all have one shape, and reading each takes time
        for part, tensor in layer.corrections[position].items():
            if part not in PROJECTIONS:
                raise ValueError(f"a correction is of '{part}', there are {', '.join(PROJECTIONS)}")
            shape = tuple(tensor.shape)
            if len(shape) != 2 or shape[1 if part == "down" else 0] != width:
                raise ValueError(f"corrections of {part} have shape {list(shape)}, the layer's experts {width} neurons")


def _check_neurons(layer: LayerRecipe, width: int) -> None:
    sizes = np.bincount(layer.groups.group[layer.groups.group >= 0], minlength=len(layer.groups.kept))
    if layer.permutations or set(layer.neurons) != set(np.flatnonzero(sizes > 1).tolist()):
        raise ValueError("chosen neurons do not match the groups of several experts")
    for position, neurons in layer.neurons.items():
        total = int(sizes[position]) * width
        if len(neurons) != width or (np.diff(neurons) <= 0).any() or neurons[0] < 0 or neurons[-1] >= total:
            raise ValueError(f"kept expert {position}: not {width} ascending indices of {total} neurons")
