"""Whether a layer's output is a residual plus its MoE block's output, found by running it as the walk does."""

import torch

from ream.errors import UserError
from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import given_values
from ream.models.family.derived.refusal import PROBED
from ream.models.family.derived.weightless import Parsed, text_model
from ream.models.layers.arguments import LayerArguments, stream_of
from ream.models.layers.loaded import Catcher, LoadedLayer
from ream.models.layers.weightless import give_buffers

TOKENS = 6
CLOSE = 1e-4  # relative to the largest output, in float32


@torch.no_grad()
def is_additive(model: Parsed, place: Place, experts: int, pair: bool) -> bool:
    """Whether a layer's output with the block is that without it plus the block's output.

    Args:
        model: shortened to end with the layer.
        place: of the experts.
        experts: N.
        pair: whether the block returns its output and something else.

    Returns:
        False, too, where the layer cannot be run alone on hidden states: nothing is then assumed of it.
    """
    text, hidden, device = text_model(model.text, torch.float32), model.text.hidden_size, torch.device("cpu")
    decoder = text.get_submodule(place.decoder)
    layer, block, stacks = decoder.layers[place.layer], place.block_of(text), place.experts_of(text)
    given_values(layer, stacks, experts)
    give_buffers(decoder, model.text, device)
    stacks.forward = lambda *given, **named: torch.tanh([*given, *named.values()][0])
    arguments, catcher = LayerArguments(decoder, decoder.layers), Catcher(pair, place.by_ids)
    catcher.take(layer, place.block, place.apart, place.experts)
    del layer.forward
    loaded = LoadedLayer(layer, place.layer, arguments, hidden, device, torch.float32, catcher, additive=False)
    try:
        entering = arguments.catch(torch.randn(1, TOKENS, hidden, generator=torch.Generator().manual_seed(2))).stream
        kept, x = loaded(entering)
        assert x is not None
        output = stream_of(block(x)).reshape(x.shape)
        whole = loaded.leaving(kept, output)
        loaded.additive = True
        residual, _ = loaded(entering)
    except (*PROBED, UserError):
        return False
    if residual.shape != output.shape:
        return False
    return float((residual + output - whole).abs().max()) < CLOSE * float(whole.abs().max())
