"""The neurons of a layer's merged experts in a walk: passes over its tokens, for as many groups at a time as fit."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ream.compress.refit_layer import SOLVER_BYTES, held_out_mask
from ream.core.experts import ExpertStack
from ream.core.recipe import LayerRecipe
from ream.core.refit.neuron_choice import chosen_neurons, neuron_grams
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
    counted: Tensor,
    parts: Callable[[], Iterable[slice]],
) -> LayerRecipe:
    """The recipe of a layer with the chosen neurons of its groups of several experts.

    Args:
        decoder: of the model. index: of the layer.
        decided: its groups. experts: the original's.
        inputs: [n, L, H] of the layer. counted: [n, L], False for padding.
        parts: starts a pass over the micro-batches. Sequences held out of the refit are held out here, too.
    """
    width = experts.down.shape[2]
    groups = {position: decided.groups.members(position) for position in range(len(decided.groups.kept))}
    groups = {position: members for position, members in groups.items() if len(members) > 1}
    # The router's rows are the groups' weighted means, whichever neurons are chosen.
    first = replace(decided, neurons={position: np.arange(width) for position in groups})
    block = decoder.block(index, CompressedLayer(decoder.checkpoint, decoder.architecture, index, first))
    chosen = {}
    for some in _bounded(groups, width):
        stream = _routed(block, inputs, counted, parts(), decoder.device)
        for position, gram in neuron_grams(stream, experts, some, block.unit, block.input_gate).items():
            down = torch.cat([experts.down[member] for member in groups[position].tolist()], dim=1)
            chosen[position] = chosen_neurons(gram, down, width)
    return replace(decided, neurons=chosen)


def _bounded(groups: dict[int, np.ndarray], width: int) -> Iterator[dict[int, np.ndarray]]:
    """The groups, as many at a time as have matrices of SOLVER_BYTES together; at least one."""
    some: dict[int, np.ndarray] = {}
    for position, members in groups.items():
        columns = [width * len(each) for each in (*some.values(), members)]
        if some and sum(count**2 for count in columns) * torch.float64.itemsize > SOLVER_BYTES:
            yield some
            some = {}
        some[position] = members
    if some:
        yield some


def _routed(
    block: MoEBlock, inputs: Tensor, counted: Tensor, parts: Iterable[slice], device: torch.device
) -> Iterator[tuple[Tensor, Routing]]:
    fitted = counted & ~held_out_mask(len(inputs))[:, None]
    for part in parts:
        x = inputs[part][fitted[part]].to(device)
        if len(x):
            yield x, block.route(x)
