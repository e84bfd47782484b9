"""Stage grouping: which experts stay and which group each absorbed expert belongs to."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ream.compress.decide import group_layer
from ream.compress.precision import precision, precision_line
from ream.core.super_experts import peak_norms, super_experts
from ream.errors import UserError
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.workspace.groupings import write_grouping
from ream.workspace.layout import Workspace
from ream.workspace.mixed_statistics import read_mixed, read_routed, read_sources
from ream.workspace.options import StageOptions
from ream.workspace.original import recipe_facts


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Group the experts of every layer by a one-shot method and write JSON.

    Raises:
        UserError: the method is sequential, or needs scores that the one-shot statistics do not hold.
    """
    mix, method, experts = options.mix, options.method, options.experts
    composition = params.method(method).composition()
    manifest = load_manifest(workspace.manifest)
    if composition.sequential:
        raise UserError(f"method '{method}' is sequential; run it with the stage sequential, which groups each layer")
    if composition.scores == "softmax" and manifest.scores != "softmax":
        raise UserError(f"method '{method}': scores: softmax on a {manifest.family} router needs sequential: true")
    layers, sample, size = {}, {}, params.grouping.size_for(experts)
    stay = _super_experts(workspace.saliency(mix), manifest.moe_layers) if composition.keep_super_experts else {}
    for index in manifest.moe_layers:
        sums, saliencies = read_mixed(workspace.saliency(mix), index)
        saliency, routed = saliencies[composition.saliency], read_routed(workspace.saliency(mix), index)
        groups = manifest.router_groups
        layers[index] = group_layer(composition, sums, experts, size, groups, saliency, routed, stay.get(index))
        if known := precision(composition, sums, layers[index], experts, size, groups):
            sample[str(index)] = known.facts()
    sources = read_sources(workspace.saliency(mix))
    corpora = {source: digests.corpus for source, digests in sources.items()}
    facts = recipe_facts(params, manifest, mix, method, experts, corpora)
    if shares := {source: digests.sequences for source, digests in sources.items() if digests.sequences is not None}:
        facts["measured"] = shares  # of sources whose other sequences serve sequential methods alone
    if sample:
        facts["sample"] = sample
    if stay:
        facts["super_experts"] = {
            str(index): np.flatnonzero(marked).tolist() for index, marked in stay.items() if marked.any()
        }
    write_grouping(workspace.grouping(mix, method, experts), layers, facts)
    largest = max(int(np.bincount(layer.groups.group + 1)[1:].max()) for layer in layers.values())
    told = precision_line(sample, manifest.experts)
    return f"grouping {mix} {method}: {experts} of {manifest.experts} experts kept; largest group {largest}{told}"


def _super_experts(path: Path, layers: Iterable[int]) -> dict[int, np.ndarray]:
    """Marks the super experts of every layer, by its index.

    Args:
        path: of the mix's statistics.
        layers: indices of the MoE layers.
    """
    return super_experts({index: peak_norms(read_mixed(path, index)[0]) for index in layers})
