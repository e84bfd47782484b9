"""Stage grouping: which experts stay and which group every other one belongs to."""

from typing import Any

import numpy as np

from ream.compress.decide import group_layer
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.errors import UserError
from ream.machine.files import building, read_json, write_json
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.stages.saliency import read_mixed
from ream.workspace.layout import Workspace
from ream.workspace.original import recipe_facts


def run(params: Params, workspace: Workspace, mix: str, method: str) -> str:
    """Group the experts of every layer by a one-shot method, for every number of experts, and write JSON.

    Raises:
        UserError: the method is sequential, or needs scores that the one-shot statistics do not hold.
    """
    composition = params.method(method).composition()
    manifest = load_manifest(workspace.manifest)
    if composition.sequential:
        raise UserError(f"method '{method}' is sequential: it groups layer by layer in the stage sequential")
    if composition.scores == "softmax" and manifest.scores != "softmax":
        raise UserError(f"method '{method}': scores: softmax on a {manifest.family} router needs sequential: true")
    mixed = {index: read_mixed(workspace, mix, index) for index in manifest.moe_layers}
    largest = 0
    with building(workspace.groupings(mix, method)) as folder:
        for experts in params.run.experts:
            layers: dict[str, Any] = {}
            for index, (sums, saliencies) in mixed.items():
                size, saliency = params.grouping.size_for(experts), saliencies[composition.saliency]
                layer = group_layer(composition, sums, experts, size, manifest.router_groups, saliency)
                layers[str(index)] = {
                    "kept": layer.groups.kept.tolist(),
                    "group": layer.groups.group.tolist(),
                    "weights": layer.weights.tolist(),
                    "saliency": layer.saliency.tolist(),
                }
                largest = max(largest, int(np.bincount(layer.groups.group + 1)[1:].max()))
            facts = recipe_facts(params, workspace, manifest, mix, method, experts)
            write_json(folder / workspace.grouping(mix, method, experts).name, {"facts": facts, "layers": layers})
    kept = ", ".join(map(str, params.run.experts))
    return f"grouping {mix} {method}: {kept} of {manifest.experts} experts stay; largest group {largest}"


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
