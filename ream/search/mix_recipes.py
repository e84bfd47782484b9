"""The recipe of any mix, in memory, from the statistics of its sources: no pass over the model, nothing written."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ream.compress.aligned import aligned
from ream.compress.decide import group_layer
from ream.compress.one_shot import mixed_probes
from ream.compress.rarely_routed import check_seen
from ream.compress.statistics_file import read_sums
from ream.core.composition import OUTPUT_MEANS, Composition, needs
from ream.core.recipe import LayerRecipe
from ream.core.sums import Sums, mixed, settled
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class Kept:
    """The sizes of the compressed model.

    Attributes:
        experts: K.
        group_size: C, as the settings count it.
        router_groups: n_group of the original, 1 without group limits.
    """

    experts: int
    group_size: int
    router_groups: int


class MixRecipes:
    """Makes recipes by one one-shot method, the same that the stages saliency, grouping and alignment make."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Architecture,
        folders: Mapping[str, Path],
        method: Composition,
        kept: Kept,
        probes: int,
        device: torch.device,
        layers: Iterable[int] | None = None,
    ) -> None:
        """Read the sums of all sources.

        Args:
            checkpoint: of the original.
            architecture: of the original.
            folders: source to the folder of its statistics.
            method: a one-shot composition.
            kept: sizes.
            probes: S, of a mix.
            device: where alignments are computed.
            layers: indices of the MoE layers; None for all of the architecture's.

        Raises:
            UserError: the experts of a layer saw no token of a source.
        """
        self._checkpoint, self._architecture, self._folders = checkpoint, architecture, dict(folders)
        self._method, self._kept, self._probes, self._device = method, kept, probes, device
        self.layers = list(architecture.moe_layers if layers is None else layers)
        self._sums = {index: {source: self._read(source, index) for source in folders} for index in self.layers}

    def _read(self, source: str, index: int) -> Sums:
        """The settled sums of a layer, without what no decision of the method reads."""
        sums = read_sums(self._folders[source], index)
        check_seen(sums, index)
        sums = replace(settled(sums), output_deviations=None, gated_output_deviations=None)
        if needs(self._method) & OUTPUT_MEANS:
            return sums
        return replace(sums, output_sum=sums.output_sum[:, :0], gated_output_sum=sums.gated_output_sum[:, :0])

    def of(self, ratios: Mapping[str, float]) -> dict[int, LayerRecipe]:
        """The recipe of every layer.

        Args:
            ratios: source to its share; sources without one may be missing.
        """
        return {index: self._layer(index, ratios) for index in self.layers}

    def _layer(self, index: int, ratios: Mapping[str, float]) -> LayerRecipe:
        used = {source: sums for source, sums in self._sums[index].items() if ratios.get(source, 0) > 0}
        routed = np.sum([sums.count for sums in used.values()], axis=0)
        kept, method = self._kept, self._method
        sums = mixed(used, ratios)
        layer = group_layer(method, sums, kept.experts, kept.group_size, kept.router_groups, routed_tokens=routed)
        if method.grouping == "pruning":
            return layer
        probes = None
        if "activations" in method.alignment:
            total = sum(ratios.values())
            shares = {source: ratio / total for source, ratio in ratios.items()}
            probes = mixed_probes(self._folders, shares, self._probes, index)
        checkpoint, architecture = self._checkpoint, self._architecture
        return aligned(checkpoint, architecture, self._device, index, layer, method.alignment, probes)


def layer_key(layer: LayerRecipe) -> str:
    """SHA-256 of what decides the layer's tensors: two layers of one key are the same compressed layer."""
    groups = layer.groups
    digest = hashlib.sha256(groups.kept.tobytes() + groups.group.tobytes() + layer.weights.tobytes())
    for expert, permutation in sorted(layer.permutations.items()):
        digest.update(f"{expert}:".encode() + np.ascontiguousarray(permutation).tobytes())
    return digest.hexdigest()
