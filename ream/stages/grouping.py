"""Stage grouping: which experts stay and which group every other one belongs to."""

from typing import Any

import numpy as np

from ream.compress.decide import group_layer
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.errors import UserError
from ream.files import read_json, write_json
from ream.models.manifest import load_manifest
from ream.params import Params
from ream.stages.original import recipe_facts
from ream.stages.saliency import read_mixed
from ream.stages.workspace import Workspace


def run(params: Params, workspace: Workspace, mix: str, method: str, experts: int) -> str:
    """Group the experts of every layer by a one-shot method and write the decisions as JSON.

    Raises:
        UserError: the method is sequential, or needs scores that the one-shot statistics do not hold.
    """
    composition = params.method(method)
    manifest = load_manifest(workspace.manifest)
    if composition.sequential:
        raise UserError(f"method '{method}' is sequential: it groups layer by layer in the stage sequential")
    if composition.scores == "softmax" and manifest.scores != "softmax":
        raise UserError(f"method '{method}': scores: softmax on a {manifest.family} router needs sequential: true")
    layers: dict[str, Any] = {}
    for index in manifest.moe_layers:
        sums, saliencies = read_mixed(workspace, mix, index)
        layer = group_layer(
            composition,
            sums,
            experts,
            params.grouping.size_for(experts),
            manifest.router_groups,
            saliencies[composition.saliency],
        )
        layers[str(index)] = {
            "kept": layer.groups.kept.tolist(),
            "group": layer.groups.group.tolist(),
            "weights": layer.weights.tolist(),
            "saliency": layer.saliency.tolist(),
        }
    facts = recipe_facts(params, workspace, manifest, mix, method, experts)
    write_json(workspace.grouping(mix, method, experts), {"facts": facts, "layers": layers})
    largest = max(max(np.bincount(np.array(layer["group"]) + 1)[1:]) for layer in layers.values())
    return f"grouping {mix} {method}: {experts} of {manifest.experts} experts stay; largest group {largest}"


def read_grouping(workspace: Workspace, mix: str, method: str, experts: int) -> tuple[dict[int, LayerRecipe], Any]:
    """The decisions of a grouping as recipes without permutations, and the facts."""
    stored = read_json(workspace.grouping(mix, method, experts))
    layers = {
        int(index): LayerRecipe(
            Groups(np.array(layer["kept"], dtype=np.int64), np.array(layer["group"], dtype=np.int64)),
            np.array(layer["weights"]),
            np.array(layer["saliency"]),
        )
        for index, layer in stored["layers"].items()
    }
    return layers, stored["facts"]
