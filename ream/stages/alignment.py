"""Stage alignment: how the neurons of absorbed experts meet their centroid's; completes the recipe."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ream.compress.decide import align_layer
from ream.compress.recipe_file import save_recipe
from ream.core.recipe import LayerRecipe, Recipe
from ream.files import building
from ream.params import AlignmentTerm, Method, Params
from ream.progress import Progress
from ream.stages.grouping import read_grouping
from ream.stages.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from ream.core.experts import Expert, GatedUnit


QUIET_SECONDS = 3


def run(params: Params, workspace: Workspace, mix: str, method: str) -> str:
    """Align the members of every group and write the recipes; a pruning method has nothing to align."""
    composition, absorbed = params.method(method), 0
    groupings = {experts: read_grouping(workspace, mix, method, experts) for experts in params.run.experts}
    total = sum(len(layers) for layers, _ in groupings.values())
    with (
        building(workspace.recipes(mix, method)) as folder,
        Progress(total, f"alignment {mix}", "layer", delay=QUIET_SECONDS) as progress,
    ):
        for experts, (layers, facts) in groupings.items():
            merged = sum(int((layer.groups.group >= 0).sum()) - len(layer.groups.kept) for layer in layers.values())
            if merged:
                layers = _aligned(params, workspace, mix, composition, layers, progress)
            save_recipe(folder / workspace.recipe(mix, method, experts).name, Recipe(layers, facts))
            absorbed += merged
    terms = " and ".join(composition.alignment) or "nothing"
    return f"alignment {mix} {method}: {absorbed} experts aligned by {terms}"


def _aligned(
    params: Params,
    workspace: Workspace,
    mix: str,
    method: Method,
    layers: dict[int, LayerRecipe],
    progress: Progress,
) -> dict[int, LayerRecipe]:
    import torch

    from ream.compress.one_shot import mixed_probes
    from ream.models.activations import unit_of
    from ream.models.decoder import runtime
    from ream.models.expert_weights import input_gates, read_expert
    from ream.stages.original import open_original

    original, ratios = open_original(workspace), params.mix(mix)
    family = original.architecture.family
    unit = unit_of(family.unit, family.numbers(original.checkpoint.config))
    folders = {source: workspace.statistics(source) for source in ratios}
    device, _ = runtime(params.compute)
    result = {}
    for index, layer in layers.items():
        probes = None
        if "activations" in method.alignment:
            probes = mixed_probes(folders, ratios, params.statistics.probes, index).to(device)
        members = [expert for expert in range(original.architecture.experts) if layer.groups.group[expert] >= 0]
        gates = input_gates(original.checkpoint, original.architecture, index)
        weights = {
            expert: replace(
                read_expert(original.checkpoint, original.architecture, index, expert),
                input_gate=None if gates is None else gates[expert],
            ).to(device, torch.float32 if probes is None else probes.dtype)
            for expert in members
        }
        permutation = partial(_permutation, weights, method.alignment, probes, unit)
        result[index] = replace(layer, permutations=align_layer(layer, permutation))
        progress.update()
    return result


def _permutation(
    weights: dict[int, "Expert"],
    terms: list[AlignmentTerm],
    probes: "Tensor | None",
    unit: "GatedUnit",
    centroid: int,
    member: int,
) -> np.ndarray:
    from ream.core.alignment import align

    return align(weights[centroid], weights[member], terms, probes, unit)
