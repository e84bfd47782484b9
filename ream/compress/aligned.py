"""The permutations of one layer's groups, from the original's weights and the probe inputs of a mix."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ream.compress.decide import absorbed
from ream.core.alignment import align_groups
from ream.core.composition import AlignmentTerm
from ream.core.experts import Expert
from ream.core.recipe import LayerRecipe
from ream.machine.available import free_threads
from ream.models.expert_weights import input_gates, read_expert
from ream.models.family.activations import unit_of
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint


def aligned(
    checkpoint: Checkpoint,
    architecture: Architecture,
    device: torch.device,
    index: int,
    layer: LayerRecipe,
    terms: Sequence[AlignmentTerm],
    probes: Tensor | None,
) -> LayerRecipe:
    """The recipe of a layer with permutations (Eq. 6).

    Args:
        checkpoint: of the original.
        architecture: of the original.
        device: where costs are computed.
        index: of the layer.
        layer: its groups.
        terms: of the cost; empty for no alignment.
        probes: [S, H] inputs of the probe tokens; only the activations term needs them.
    """
    gates = input_gates(checkpoint, architecture, index)
    probes = None if probes is None else probes.to(device)
    dtype = torch.float32 if probes is None else probes.dtype

    def expert(number: int) -> Expert:
        weights = read_expert(checkpoint, architecture, index, number)
        return replace(weights, input_gate=None if gates is None else gates[number]).to(device, dtype)

    unit = unit_of(architecture.family.unit, architecture.family.numbers(checkpoint.config))
    members, threads = absorbed(layer), free_threads(device)
    permutations = align_groups(members, expert, terms, probes, unit, threads, architecture.experts)
    return replace(layer, permutations=permutations)
