"""Where the router is of a layer that has no MoE block: the module whose answer the layer hands to its experts."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError, one_line
from ream.models.family.derived.handed_on import state_width
from ream.models.family.derived.keys import stacks_of
from ream.models.family.derived.place import Place, place_of
from ream.models.family.derived.probe import given_values
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.weightless import Parsed, text_model
from ream.models.layers.apart import Apart
from ream.models.layers.arguments import LayerArguments
from ream.models.layers.weightless import give_buffers

TOKENS = 6


def placed(model: Parsed, short: Parsed, text: Any) -> Place:
    """Where the experts are, their router if there is no block around both, and what that is given beside its input.

    Args:
        model: with all its layers.
        short: shortened to end with the first layer whose router selects experts.
        text: its text model.

    Raises:
        NotDerivableError: see `place_of`; or the layer's experts are not handed what a module of the layer decides.
    """
    place = place_of(text)
    if not place.block:
        return replace(place, apart=_apart(short, place))
    return place if place.by_ids else replace(place, state=state_width(model, place))


@torch.no_grad()
def _apart(model: Parsed, place: Place) -> Apart:
    """See `placed`: the layer is run, and its modules' answers are compared with what its experts are given."""
    text = text_model(model.text, torch.float32)
    decoder = text.get_submodule(place.decoder)
    layer, stacks = decoder.layers[place.layer], place.experts_of(text)
    given_values(layer, stacks, len(stacks_of(stacks)[0]))
    give_buffers(decoder, model.text, torch.device("cpu"))
    handed: list[Tensor] = []
    answers: dict[str, Any] = {}

    def record(*given: Any, **named: Any) -> Tensor:
        handed.extend([*given, *named.values()])
        return torch.tanh(handed[0])

    stacks.forward = record
    for name, child in layer.named_children():
        child.register_forward_hook(_keeping(answers, name))
    arguments = LayerArguments(decoder, decoder.layers)
    del layer.forward
    embedded = torch.randn(1, TOKENS, model.text.hidden_size, generator=torch.Generator().manual_seed(2))
    try:
        caught = arguments.catch(embedded)
        own = caught.layers[place.layer]
        layer(caught.stream, *own.positional, **own.named)
    except (*PROBED, UserError) as error:
        raise NotDerivableError(
            f"its {type(layer).__name__}, which has no MoE block, cannot be run alone: {one_line(error)}"
        ) from error
    for name, answer in answers.items():
        if not isinstance(answer, tuple | list):
            continue
        positions = [next((at for at, value in enumerate(answer) if value is own), None) for own in handed[1:]]
        if positions and None not in positions:
            return Apart(name, len(answer), tuple(at for at in positions if at is not None))
    raise NotDerivableError(
        f"its experts lie in {type(layer).__name__} itself, and no module of that hands them their decision"
    )


def _keeping(answers: dict[str, Any], name: str) -> Any:
    """A forward hook that keeps what a module returns."""

    def hook(module: nn.Module, given: Any, output: Any) -> None:
        answers[name] = output

    return hook
