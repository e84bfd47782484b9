"""Stage alignment: how the neurons of absorbed experts meet their centroid's; completes the recipe."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ream.compress.decide import absorbed
from ream.core.recipe import LayerRecipe, Recipe
from ream.machine.files import building, file_digest, read_json
from ream.machine.memory import trim
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.params import Method, Params
from ream.recipe.recipe_file import pack_layer, save_recipe, unpack_layer
from ream.stages.grouping import read_grouping
from ream.workspace.layout import Workspace

if TYPE_CHECKING:
    from ream.core.experts import Expert
    from ream.walk.state import WalkState


def run(
    params: Params,
    workspace: Workspace,
    mix: str,
    method: str,
    discard_stale: bool = True,
    keep_state: bool = False,
) -> str:
    """Align the members of every group and write the recipes; a pruning method has nothing to align.

    Goes on after the last aligned layer where a killed run stood.

    Args:
        params: all settings. workspace: with the groupings and statistics.
        mix: name of a mix. method: name of a method.
        discard_stale: start anew where a run with other settings was interrupted; else refuse.
        keep_state: leave what is aligned, so that asked again it is not aligned again.

    Raises:
        UserError: another run is at it, or see ``discard_stale``.
    """
    absorbed, states = 0, []
    groupings = {experts: read_grouping(workspace, mix, method, experts) for experts in params.run.experts}
    total = sum(len(layers) for layers, _ in groupings.values())
    with (
        building(workspace.recipes(mix, method)) as folder,
        Progress(total, f"alignment {mix}", "layer", delay=QUIET_SECONDS) as progress,
    ):
        for experts, (layers, facts) in groupings.items():
            merged = sum(int((layer.groups.group >= 0).sum()) - len(layer.groups.kept) for layer in layers.values())
            if merged:
                depends = _depends(params, workspace, mix, method, experts)
                states.append(workspace.state("alignment", mix, method, str(experts)))
                from ream.walk.state import WalkState, fingerprint  # torch, which pruning does without

                with WalkState(states[-1], fingerprint(depends), discard_stale, depends) as state:
                    layers = _aligned(params, workspace, mix, params.method(method), layers, state, progress)
            save_recipe(folder / workspace.recipe(mix, method, experts).name, Recipe(layers, facts))
            absorbed += merged
    if states and not keep_state:
        from ream.walk.state import discard

        for path in states:
            discard(path)
    terms = " and ".join(params.method(method).alignment) or "nothing"
    return f"alignment {mix} {method}: {absorbed} experts aligned by {terms}"


def _depends(params: Params, workspace: Workspace, mix: str, method: str, experts: int) -> dict[str, Any]:
    """All that the permutations of a grouping depend on."""
    used = [source for source, ratio in params.mix(mix).items() if ratio > 0]
    return {
        "grouping": file_digest(workspace.grouping(mix, method, experts)),
        "composition": params.method(method).model_dump(),
        "ratios": params.mix(mix),
        "statistics": {source: read_json(workspace.statistics(source) / "facts.json") for source in used},
        "probes": params.statistics.probes,
        "compute": params.compute.model_dump(include={"device", "threads"}),
    }


def _aligned(
    params: Params,
    workspace: Workspace,
    mix: str,
    method: Method,
    layers: dict[int, LayerRecipe],
    state: "WalkState",
    progress: Progress,
) -> dict[int, LayerRecipe]:
    import torch

    from ream.compress.one_shot import mixed_probes
    from ream.core.alignment import align_groups
    from ream.machine.available import free_threads
    from ream.models.decoder import runtime
    from ream.models.expert_weights import input_gates, read_expert
    from ream.models.family.activations import unit_of
    from ream.walk.release import release
    from ream.workspace.original import open_original

    original, ratios = open_original(workspace, params.model.keep_shards), params.mix(mix)
    checkpoint, architecture = original.checkpoint, original.architecture
    unit = unit_of(architecture.family.unit, architecture.family.numbers(checkpoint.config))
    folders = {source: workspace.statistics(source) for source in ratios}
    device, _ = runtime(*params.compute.placement)

    def aligned(index: int, layer: LayerRecipe) -> LayerRecipe:
        """With all that it reads freed at its end: two layers are never in memory at once."""
        probes = None
        if "activations" in method.alignment:
            probes = mixed_probes(folders, ratios, params.statistics.probes, index).to(device)
        gates = input_gates(checkpoint, architecture, index)
        dtype = torch.float32 if probes is None else probes.dtype

        def expert(number: int) -> "Expert":
            weights = read_expert(checkpoint, architecture, index, number)
            return replace(weights, input_gate=None if gates is None else gates[number]).to(device, dtype)

        members, threads = absorbed(layer), free_threads(device)
        found = align_groups(members, expert, method.alignment, probes, unit, threads)
        return replace(layer, permutations=found)

    done = [index for index in layers if index < state.next_layer]
    progress.skip(len(done))
    for index, layer in layers.items():
        if index in done:
            continue
        packed = pack_layer(aligned(index, layer))
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in packed.items()}
        state.commit(index, arrays, None, last=index == max(layers))
        release(checkpoint, architecture, index + 1)
        trim()
        progress.update()
    return {
        index: unpack_layer({name: tensor.numpy() for name, tensor in state.layer(index).items()}) for index in layers
    }
