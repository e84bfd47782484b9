"""Stage grouping: which experts stay and which group each absorbed expert belongs to."""

import numpy as np

from ream.compress.decide import group_layer
from ream.errors import UserError
from ream.machine.files import building
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.workspace.groupings import write_grouping
from ream.workspace.layout import Workspace
from ream.workspace.mixed_statistics import read_mixed
from ream.workspace.options import StageOptions
from ream.workspace.original import recipe_facts


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Group the experts of every layer by a one-shot method, for every number of experts, and write JSON.

    Raises:
        UserError: the method is sequential, or needs scores that the one-shot statistics do not hold.
    """
    mix, method = options.mix, options.method
    composition = params.method(method).composition()
    manifest = load_manifest(workspace.manifest)
    if composition.sequential:
        raise UserError(f"method '{method}' is sequential; run it with the stage sequential, which groups each layer")
    if composition.scores == "softmax" and manifest.scores != "softmax":
        raise UserError(f"method '{method}': scores: softmax on a {manifest.family} router needs sequential: true")
    statistics = {index: read_mixed(workspace.saliency(mix), index) for index in manifest.moe_layers}
    largest = 0
    with building(workspace.groupings(mix, method)) as folder:
        for experts in params.run.experts:
            size = params.grouping.size_for(experts)
            layers = {
                index: group_layer(
                    composition, sums, experts, size, manifest.router_groups, saliencies[composition.saliency]
                )
                for index, (sums, saliencies) in statistics.items()
            }
            sizes = (int(np.bincount(layer.groups.group + 1)[1:].max()) for layer in layers.values())
            largest = max([largest, *sizes])
            facts = recipe_facts(params, workspace, manifest, mix, method, experts)
            write_grouping(folder / workspace.grouping(mix, method, experts).name, layers, facts)
    kept = ", ".join(map(str, params.run.experts))
    return f"grouping {mix} {method}: {kept} of {manifest.experts} experts kept; largest group {largest}"
