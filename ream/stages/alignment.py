"""Stage alignment: how the neurons of absorbed experts map onto their centroid's; completes the recipe."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ream.core.recipe import LayerRecipe, Recipe
from ream.errors import UserError
from ream.machine.files import file_digest
from ream.machine.memory import trim
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.params import Method, Params
from ream.recipe.recipe_file import pack_layer, save_recipe, unpack_layer
from ream.walk.layer_file import layer_file
from ream.workspace.groupings import read_grouping
from ream.workspace.layout import Workspace
from ream.workspace.mixed_statistics import SourceDigests, read_sources
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.walk.state import WalkState
    from ream.workspace.original import Original


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Align the members of every group and write the recipe; a pruning method has nothing to align.

    A killed run goes on after its last aligned layer.

    Raises:
        UserError: another run works on the same recipe, the statistics have changed since they were mixed, or see
            ``options.discard_stale``.
    """
    mix, method, experts = options.mix, options.method, options.experts
    layers, facts = read_grouping(workspace.grouping(mix, method, experts))
    merged = sum(int((layer.groups.group >= 0).sum()) - len(layer.groups.kept) for layer in layers.values())
    out = workspace.recipe(mix, method, experts)
    if not merged:
        save_recipe(out, Recipe(layers, facts))
    else:
        from ream.walk.state import WalkState, fingerprint  # they import torch, which pruning does without

        depends = _depends(params, workspace, options)
        with (
            WalkState(
                workspace.state("alignment", mix, method, str(experts)),
                fingerprint(depends),
                options.discard_stale,
                depends,
            ) as state,
            Progress(len(layers), f"alignment {mix}", "layer", delay=QUIET_SECONDS) as progress,
        ):
            save_recipe(out, Recipe(_aligned(params, workspace, options, layers, state, progress), facts))
            if not options.keep_state:
                state.clear()
    terms = " and ".join(params.method(method).alignment)
    if not merged:
        return f"alignment {mix} {method}: nothing to align, because no experts are merged"
    return f"alignment {mix} {method}: {merged} experts merged, " + (f"aligned by {terms}" if terms else "not aligned")


def _depends(params: Params, workspace: Workspace, options: StageOptions) -> dict[str, Any]:
    """Everything that the permutations of a grouping depend on."""
    return {
        "grouping": file_digest(workspace.grouping(options.mix, options.method, options.experts)),
        "composition": params.method(options.method).model_dump(),
        "ratios": params.mix(options.mix),
        "statistics": {
            source: digests.layers for source, digests in read_sources(workspace.saliency(options.mix)).items()
        },
        "probes": params.statistics.probes,
        "compute": params.compute.model_dump(include={"device", "threads"}),
        "code": options.code,
    }


def _aligned(
    params: Params,
    workspace: Workspace,
    options: StageOptions,
    layers: dict[int, LayerRecipe],
    state: "WalkState",
    progress: Progress,
) -> dict[int, LayerRecipe]:
    """The layers with permutations; each layer is committed to the state as soon as it is aligned."""
    import torch

    from ream.walk.release import release
    from ream.workspace.original import open_original

    original = open_original(workspace, params.model.keep_shards)
    mix, method, sources = params.mix(options.mix), params.method(options.method), workspace.saliency(options.mix)
    aligner = _Aligner(params, workspace, original, mix, method, read_sources(sources))
    finished = [index for index in layers if index < state.next_layer]
    progress.skip(len(finished))
    for index, layer in layers.items():
        if index in finished:
            continue
        packed = pack_layer(aligner.align(index, layer))
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in packed.items()}
        state.commit(index, arrays, None, last=index == max(layers))
        release(original.checkpoint, original.architecture, index + 1)
        trim()
        progress.update()
    return {
        index: unpack_layer({name: tensor.numpy() for name, tensor in state.layer(index).items()}) for index in layers
    }


@dataclass(frozen=True)
class _Aligner:
    """Aligns the groups of single layers.

    Attributes:
        params: all settings.
        workspace: with the statistics, whose probes are read.
        original: the model.
        ratios: source to its ratio in the mix.
        method: its alignment terms are used.
        sources: source to the statistics that the grouping was made from.
    """

    params: Params
    workspace: Workspace
    original: "Original"
    ratios: dict[str, float]
    method: Method
    sources: dict[str, SourceDigests]

    def align(self, index: int, layer: LayerRecipe) -> LayerRecipe:
        """The layer with permutations.

        Everything that it reads is freed when it returns, so that two layers are never in memory at once.

        Raises:
            UserError: the statistics are not those that the grouping was made from.
        """
        from ream.compress.aligned import aligned
        from ream.compress.one_shot import mixed_probes
        from ream.models.runtime import runtime

        device, _ = runtime(*self.params.compute.placement)
        probes = None
        if "activations" in self.method.alignment:
            folders = {source: self.workspace.statistics(source) for source in self.sources}
            self._check(index)
            probes = mixed_probes(folders, self.ratios, self.params.statistics.probes, index)
        checkpoint, architecture = self.original.checkpoint, self.original.architecture
        return aligned(checkpoint, architecture, device, index, layer, self.method.alignment, probes)

    def _check(self, index: int) -> None:
        """Refuse statistics of a layer that have changed since the stage saliency read them."""
        for source, digests in self.sources.items():
            path = layer_file(self.workspace.statistics(source), index)
            if file_digest(path) != digests.layers[index]:
                raise UserError(f"{path} has changed since the stage saliency read it; run `dvc repro` again")
