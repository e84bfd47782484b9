"""Whether a layer's output is a residual plus its MoE block's output, found by running it with and without it."""

from typing import Any

import torch
from torch import Tensor, nn

from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import given_values
from ream.models.family.derived.refusal import PROBED
from ream.models.family.derived.weightless import Parsed, text_model

TOKENS = 6
CLOSE = 1e-4  # relative to the largest output, in float32


class _Ended(Exception):  # noqa: N818 - no error: it leaves the model's forward behind the layer
    pass


def is_additive(model: Parsed, place: Place, experts: int) -> bool:
    """Whether a layer's output with the block is that without it plus the block's output.

    Args:
        model: shortened to end with the layer.
        place: of the experts.
        experts: N.

    Returns:
        False, too, where the layer cannot be run alone on hidden states: nothing is then assumed of it.
    """
    text = text_model(model.text, torch.float32)
    layers = text.get_submodule(place.decoder).layers
    layer, block, stacks = layers[place.layer], place.block_of(text), place.experts_of(text)
    given_values(layer, stacks, experts)
    _give_buffers(text, model.text)
    stacks.forward = lambda *given, **named: torch.tanh([*given, *named.values()][0])
    for passed_on in (_passed_on, _passed_on_with_indices):
        for before in layers[: place.layer]:
            before.forward = passed_on
        try:
            whole, given = _run(text, layer, block, model.text.hidden_size, silent=False)
            rest, _ = _run(text, layer, block, model.text.hidden_size, silent=True)
            break
        except PROBED:
            continue
    else:
        return False
    if whole.shape != rest.shape or given.numel() != whole.numel():
        return False
    return float((rest + given.reshape(rest.shape) - whole).abs().max()) < CLOSE * float(whole.abs().max())


def _run(text: Any, layer: nn.Module, block: nn.Module, hidden: int, silent: bool) -> tuple[Tensor, Tensor]:
    """The outputs of a layer and of its MoE block, which may be silenced: it then gives zeros."""
    given: list[Tensor] = []
    outputs: list[Tensor] = []

    def heard(module: nn.Module, positional: Any, output: Any) -> Any:
        value = _first(output)
        given.append(value)
        if not silent:
            return output
        zeros = torch.zeros_like(value)
        return (zeros, *output[1:]) if isinstance(output, tuple) else zeros

    def ended(module: nn.Module, positional: Any, output: Any) -> None:
        outputs.append(_first(output))
        raise _Ended

    hooks = [block.register_forward_hook(heard), layer.register_forward_hook(ended)]
    embedded = torch.randn(1, TOKENS, hidden, generator=torch.Generator().manual_seed(2))
    try:
        with torch.no_grad():
            text(inputs_embeds=embedded, use_cache=False)
    except _Ended:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return outputs[0], given[0]


def _first(output: Any) -> Tensor:
    """A tensor, or the first of several values."""
    value: Tensor = output[0] if isinstance(output, tuple) else output
    return value


def _passed_on(hidden_states: Tensor, *positional: object, **named: object) -> Tensor:
    """The forward of a layer that is not run."""
    return hidden_states


def _passed_on_with_indices(hidden_states: Tensor, *positional: object, **named: object) -> tuple[Tensor, Tensor]:
    """The same of a layer that hands on which tokens sparse attention selects: all."""
    rows, tokens = hidden_states.shape[:2]
    return hidden_states, torch.arange(tokens).expand(rows, tokens, -1)


def _give_buffers(text: Any, config: Any) -> None:
    """Compute the buffers that a model on the meta device lacks beside its layers, such as rotary frequencies."""
    for name, module in list(text.named_modules()):
        buffers = list(module.buffers(recurse=False))
        if buffers and not list(module.parameters()) and buffers[0].is_meta:
            text.set_submodule(name, type(module)(config=config))
