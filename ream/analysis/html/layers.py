"""Groups, weights and saliency of each layer, from a recipe, and the same as compact JSON for the page."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ream.core.evidence import FEW_TOKENS, rarely_routed
from ream.core.recipe import LayerRecipe, Recipe

DIGITS = 4  # significant digits, more than a picture shows


@dataclass(frozen=True)
class Member:
    """An expert of a group, and its weight in the group's mean."""

    expert: int
    weight: float


@dataclass(frozen=True)
class Layer:
    """One layer of a compressed model; experts are given by their index in the original.

    Attributes:
        index: index of the layer in the model.
        experts: routed experts of the original layer.
        groups: kept expert to the members of its group, itself included; experts in no group were dropped.
        saliency: saliency of each expert; None where it is not known.
        error: error of the layer's output; None where it is not known.
        rarely_routed: share of the experts to which few calibration tokens were routed (`ream.core.evidence`); None
            where it is not known.
        sample_error: largest standard error of a similarity that decided on the groups, where mean outputs come from a
            sample; else None.
        undecided: experts whose group a sample of that size does not settle (`ream.compress.precision`).
        candidate: the candidate that was chosen for the layer, where several were tried; else None.
        left: what each trial left of the plain method's error on held-out text, by its name.
    """

    index: int
    experts: int
    groups: Mapping[int, tuple[Member, ...]]
    saliency: tuple[float, ...] | None = None
    error: float | None = None
    rarely_routed: float | None = None
    sample_error: float | None = None
    undecided: tuple[int, ...] = ()
    candidate: str | None = None
    left: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that groups and numbers fit the layer.

        Raises:
            ValueError: an expert is out of range or in two groups, a kept expert is not in its own group, there is not
                one saliency per expert, or a number is not finite.
        """
        members = [member.expert for group in self.groups.values() for member in group]
        if len(set(members)) != len(members) or any(not 0 <= expert < self.experts for expert in members):
            raise ValueError(f"layer {self.index}: its groups are not of {self.experts} experts, each once at most")
        if any(kept not in [member.expert for member in group] for kept, group in self.groups.items()):
            raise ValueError(f"layer {self.index}: a kept expert is not in its own group")
        if self.saliency is not None and len(self.saliency) != self.experts:
            raise ValueError(f"layer {self.index}: {len(self.saliency)} saliencies for {self.experts} experts")
        weights = [member.weight for group in self.groups.values() for member in group]
        errors = [] if self.error is None else [self.error]
        if not all(math.isfinite(value) for value in (*weights, *errors, *(self.saliency or ()))):
            raise ValueError(f"layer {self.index}: a saliency, weight or error is not finite")


@dataclass(frozen=True)
class LayerView:
    """All layers with experts of one compressed model."""

    mix: str
    method: str
    experts: int
    layers: tuple[Layer, ...]


def layer_view(
    recipe: Recipe,
    mix: str,
    method: str,
    experts: int,
    saliency: Mapping[int, Sequence[float]] | None = None,
    errors: Mapping[int, float] | None = None,
) -> LayerView:
    """A recipe's layers, in their order.

    Args:
        recipe: the model's recipe.
        mix: name of the model's mix.
        method: name of its method.
        experts: number of experts it keeps.
        saliency: layer index to the saliency of each expert; None takes those of the recipe, which decided.
        errors: layer index to the error of its output; layers may be missing.

    Raises:
        ValueError: the saliencies do not fit, or a number is not finite.
    """
    layers = []
    sample, refits = recipe.facts.get("sample", {}), recipe.facts.get("refit", {})
    for index, layer in sorted(recipe.layers.items()):
        known, refit = sample.get(str(index), {}), refits.get(str(index), {})
        values = layer.saliency if saliency is None else saliency.get(index)
        layers.append(
            Layer(
                index=index,
                experts=len(layer.groups.group),
                groups=_groups(layer),
                saliency=None if values is None else tuple(float(value) for value in values),
                error=None if errors is None else errors.get(index),
                rarely_routed=None if layer.routed_tokens is None else rarely_routed(layer.routed_tokens),
                sample_error=known.get("error"),
                undecided=tuple(known.get("undecided", ())),
                candidate=refit.get("candidate"),
                left=refit.get("tried", {}),
            )
        )
    return LayerView(mix, method, experts, tuple(layers))


def _groups(layer: LayerRecipe) -> dict[int, tuple[Member, ...]]:
    """Kept expert to the members of its group."""
    return {
        int(kept): tuple(
            Member(int(expert), float(layer.weights[expert]))
            for expert in np.flatnonzero(layer.groups.group == position)
        )
        for position, kept in enumerate(layer.groups.kept)
    }


def encoded(views: Sequence[LayerView], links: Mapping[tuple[str, str, int], str] | None = None) -> str:
    """JSON of all views: {"lists": [[...], ...], "few", "views": [{mix, method, experts, link, layers}]}.

    A view of a model for whose layers candidates were tried also has "choices": [layer, candidate, {trial: error left}]
    of each. A layer is [index, groups, weights, saliency, error, rarely routed] and, where a sample decided on its
    groups, the standard error and the number of undecided experts. groups, weights and saliency are places in
    "lists", which has every distinct list once (mixes with the same saliency share it). The list of groups gives the
    kept expert of each expert (−1: dropped), that of weights the weight of each expert in its group; saliency is −1
    where it is not known. "few" is the number of tokens below which an expert counts as rarely routed.
    Numbers have DIGITS significant digits.

    Args:
        views: the models.
        links: (mix, method, experts) to the address of the recipe, relative to the page.
    """
    places: dict[tuple[float, ...], int] = {}

    def place(values: Sequence[float]) -> int:
        return places.setdefault(tuple(_rounded(value) for value in values), len(places))

    shown: list[dict[str, Any]] = []
    for view in views:
        layers = []
        for layer in view.layers:
            groups, weights = [-1] * layer.experts, [0.0] * layer.experts
            for kept, members in layer.groups.items():
                for member in members:
                    groups[member.expert], weights[member.expert] = kept, member.weight
            saliency = -1 if layer.saliency is None else place(layer.saliency)
            error = None if layer.error is None else _rounded(layer.error)
            rare = None if layer.rarely_routed is None else _rounded(layer.rarely_routed)
            sample = [] if layer.sample_error is None else [_rounded(layer.sample_error), len(layer.undecided)]
            layers.append([layer.index, place(groups), place(weights), saliency, error, rare, *sample])
        link = (links or {}).get((view.mix, view.method, view.experts))
        choices = [
            [layer.index, layer.candidate, {name: _rounded(left) for name, left in layer.left.items()}]
            for layer in view.layers
            if layer.candidate is not None
        ]
        model = {"mix": view.mix, "method": view.method, "experts": view.experts, "link": link, "layers": layers}
        shown.append(model | ({"choices": choices} if choices else {}))
    return json.dumps(
        {"lists": list(places), "few": FEW_TOKENS, "views": shown}, separators=(",", ":"), allow_nan=False
    )


def _rounded(value: float) -> float:
    """The value with DIGITS significant digits, as an integer where it is one."""
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
