"""What layers hand to the next beside hidden states: found by running one with random values."""

from typing import Any

import torch
from torch import Tensor

from ream.models.family.derived.keys import experts_in, stacks_of
from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import give_own_values, given_values
from ream.models.family.derived.weightless import Parsed, text_model
from ream.models.layers.arguments import FOREIGN, LayerArguments
from ream.models.layers.weightless import give_buffers

TOKENS = 6


@torch.no_grad()
def state_width(model: Parsed, place: Place) -> int:
    """The number of values of a token that a layer hands to the next; 0 for most models.

    What is no floating-point number for each token is no such state: GLM-5's layers hand on indices, which
    `LayerArguments` knows how to make up.

    Args:
        model: with all its layers; of these the one with the experts and the next are built.
        place: of the experts.
    """
    if place.layer + 2 > model.text.num_hidden_layers:  # there is no next layer
        return 0
    text, device = text_model(model.shortened(place.layer + 2).text, torch.float32), torch.device("cpu")
    decoder: Any = text.get_submodule(place.decoder)
    layer, stacks = decoder.layers[place.layer], place.experts_of(text)
    give_buffers(decoder, model.text, device)
    give_own_values(decoder)
    arguments = LayerArguments(decoder, decoder.layers, state=1)  # whatever its width
    embedded = torch.zeros(1, TOKENS, model.text.hidden_size)
    try:
        caught = arguments.catch(embedded)
        if not arguments.hands_on:
            return 0
        del layer.forward
        given_values(layer, stacks, experts_in(stacks_of(stacks)))
        stacks.forward = lambda *inputs, **named: torch.zeros_like([*inputs, *named.values()][0])
        given = caught.layers[place.layer].replaced(caught.handed, None)
        output = layer(caught.stream, *given.positional, **given.named)
    except FOREIGN:  # it cannot be run like this, and so is no model of which a state is known
        return 0
    state = output[1] if isinstance(output, tuple | list) and len(output) == 2 else None
    if not isinstance(state, Tensor) or not state.is_floating_point() or state.dim() != 3:
        return 0
    return state.shape[2] if state.shape[:2] == embedded.shape[:2] else 0
