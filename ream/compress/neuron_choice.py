"""The choice of neurons for one layer of a walk, for as many groups at a time as memory allows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ream.compress.refit_layer import SOLVER_BYTES
from ream.core.experts import ExpertStack
from ream.core.recipe import LayerRecipe
from ream.core.refit.neuron_choice import chosen_neurons, neuron_grams
from ream.core.refit.output_coordinates import output_coordinates
from ream.core.refit.sums import Total, own
from ream.core.routing import Routing
from ream.models.decoder import Decoder
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import CompressedLayer


@torch.no_grad()
def choose_neurons(
    decoder: Decoder,
    index: int,
    decided: LayerRecipe,
    experts: ExpertStack,
    inputs: Tensor,
    fitted: Tensor,
    parts: Callable[[], Iterable[slice]],
    total: Total = own,
) -> LayerRecipe:
    """Choose the neurons that each group of several experts keeps (`ream.core.refit.neuron_choice`).

    Sequences that are held out of the refit are held out here, too.

    Args:
        decoder: of the model.
        index: of the layer.
        decided: the layer's recipe with its groups.
        experts: the original ones.
        inputs: [n, L, H] inputs of the MoE block.
        fitted: [n, L], False for padding and for tokens of held-out sequences.
        parts: starts a pass over the micro-batches.
        total: of all processes that share the sequences.

    Returns:
        The recipe with the chosen neurons.
    """
    width = experts.down.shape[2]
    groups = {position: decided.groups.members(position) for position in range(len(decided.groups.kept))}
    groups = {position: members for position, members in groups.items() if len(members) > 1}
    # Routing does not depend on the neurons that are chosen: the router's rows are the groups' weighted means.
    any_neurons = replace(decided, neurons={position: np.arange(width) for position in groups})
    block = decoder.block(index, CompressedLayer(decoder.checkpoint, decoder.architecture, index, any_neurons))
    coordinates, chosen = output_coordinates(block.output_map(decoder.architecture.hidden)), {}
    for portion in _portions(groups, width):
        stream = _routed(block, inputs, fitted, parts(), decoder.device)
        for position, gram in neuron_grams(stream, experts, portion, block.unit, block.input_gate, total).items():
            down = torch.cat([experts.down[member] for member in groups[position].tolist()], dim=1)
            chosen[position] = chosen_neurons(gram, coordinates.down(down), width)
    return replace(decided, neurons=chosen)


def _portions(groups: dict[int, np.ndarray], width: int) -> Iterator[dict[int, np.ndarray]]:
    """The groups in portions whose Gram matrices take SOLVER_BYTES at most; at least one group each."""
    portion: dict[int, np.ndarray] = {}
    for position, members in groups.items():
        columns = [width * len(group) for group in (*portion.values(), members)]
        if portion and sum(count**2 for count in columns) * torch.float64.itemsize > SOLVER_BYTES:
            yield portion
            portion = {}
        portion[position] = members
    if portion:
        yield portion


def _routed(
    block: MoEBlock, inputs: Tensor, fitted: Tensor, parts: Iterable[slice], device: torch.device
) -> Iterator[tuple[Tensor, Routing]]:
    """What experts are given [T, H] of the fitted tokens, micro-batch by micro-batch, and where they are routed."""
    for part in parts:
        x = inputs[part][fitted[part]].to(device)
        if len(x):
            yield block.expert_inputs(x), block.route(x)
