"""Which keys of config.json count experts, selected experts and neurons: those whose change shows in the model."""

import re
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor

from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import probed
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.weightless import Parsed, text_model

LIKELY = re.compile(r"expert|moe|topk")  # in names of keys that are tried first
PER_TOKEN = re.compile(r"experts_per_tok|top_?k")


def experts_key(model: Parsed, place: Place, experts: int) -> tuple[str, Any]:
    """The key whose change changes the number of experts, and the weightless text model with another number of them.

    Raises:
        NotDerivableError: no key, or one with a value for each layer, counts them.
    """
    others = []

    def read(changed: Parsed) -> int:
        others.append(text_model(changed.text))
        return experts_in(stacks_of(place.experts_of(others[-1])))

    key = counting(model, experts, read)
    if key is not None:
        return key, others[-1]
    values = model.text.to_dict().items()
    lists = [name for name, value in values if isinstance(value, list) and experts in value and "expert" in name]
    raise NotDerivableError(
        f"{lists[0]} of its config.json has a value for each layer, and ream keeps as many experts in all layers"
        if lists
        else f"no key of config.json counts the {experts} experts of its layers"
    )


def width_key(model: Parsed, place: Place, hidden: int) -> str:
    """The key whose change changes the number of neurons of an expert.

    Args:
        model: shortened.
        place: of the experts.
        hidden: H, of the experts' inputs.

    Raises:
        NotDerivableError: there is no such key.
    """
    width = width_of(stacks_of(place.experts_of(text_model(model.text))), hidden)
    key = counting(model, width, lambda new: width_of(stacks_of(place.experts_of(text_model(new.text))), hidden))
    if key is None:
        raise NotDerivableError(f"no key of config.json gives the {width} neurons of an expert")
    return key


def top_k_key(model: Parsed, place: Place, router: str) -> str:
    """The key whose change changes the number of experts that the block's own router selects.

    Args:
        model: shortened.
        place: of the experts.
        router: path within the block of the module that gives logits.

    Raises:
        NotDerivableError: there is no such key.
    """

    def selected(changed: Parsed) -> int:
        block = place.block_of(text_model(changed.text))
        return probed(block, place, router, changed.text.hidden_size).indices.shape[1]

    top_k = selected(model)
    key = counting(model, top_k, selected, smaller=True, layer=place.layer)
    if key is None:  # a number that is fixed in the modelling code, as PhiMoE's 2; config.json says the same
        values = model.text.to_dict()
        key = next((key for key in values if PER_TOKEN.search(key) and values[key] == top_k), None)
    if key is None:
        raise NotDerivableError(f"no key of config.json gives the {top_k} experts that a token selects")
    return key


def stacks_of(experts: Any) -> list[Tensor]:
    """The tensors of an experts module with all experts along their first axis: those of three axes."""
    return [tensor for tensor in experts.parameters(recurse=False) if tensor.dim() == 3]


def experts_in(stacks: list[Tensor]) -> int:
    """N: LongCat's experts module has rows behind the experts' in one of its tensors, which nothing reads."""
    return min(len(stack) for stack in stacks)


def width_of(stacks: list[Tensor], hidden: int) -> int:
    """D, from the shapes of down (axes H and D) and of gate and up (axes H and D, or H and 2D).

    Raises:
        NotDerivableError: no axis has the size H.
    """
    widths = []
    for stack in stacks:
        axes = list(stack.shape[1:])
        if hidden not in axes:
            raise NotDerivableError(
                f"a tensor of its experts has axes of {' and '.join(map(str, axes))} values, and their inputs {hidden}"
            )
        axes.remove(hidden)
        widths.append(axes[0])
    return min(widths)


def counting(
    model: Parsed, value: int, read: Callable[[Parsed], int], smaller: bool = False, layer: int | None = None
) -> str | None:
    """The key with this value whose change changes what is read from the model to the new value; None where none does.

    Args:
        model: shortened.
        value: that is read now.
        read: builds the changed model and gives what it then is.
        smaller: try a smaller value first, for k is limited by N and by groups.
        layer: index of the layer that is read, where a key may have a list with a value for each layer.
    """
    values = model.text.to_dict()
    listed = [
        key for key, own in values.items() if layer is not None and _counts(own) and own[layer : layer + 1] == [value]
    ]
    keys: list[str] = [key for key, own in values.items() if type(own) is int and own == value] + listed
    keys.sort(key=lambda key: (not LIKELY.search(key), key))
    for key in keys:
        for other in [value - 1, value + 1] if smaller and value > 1 else [value + 1, 2 * value]:
            new = [other] * len(values[key]) if key in listed else other
            try:
                if read(model.changed(**{key: new})) == other:
                    return key
            except (*PROBED, NotDerivableError):  # a value that this key cannot have
                continue
    return None


def _counts(value: Any) -> bool:
    """Whether a value of a config is a list of whole numbers."""
    return isinstance(value, list) and all(type(each) is int for each in value)


def names_of(text: Any, key: str) -> tuple[str, ...]:
    """A key and all other names that transformers takes for the same in config.json."""
    aliases = dict(getattr(type(text), "attribute_map", {}))
    target = aliases.get(key, key)
    return tuple(dict.fromkeys([key, target, *(alias for alias, own in aliases.items() if own == target)]))


def written_name(text: Any, key: str, written: Collection[str]) -> str:
    """The name of a key that config.json has.

    Raises:
        NotDerivableError: it has none of them, so that transformers' default holds.
    """
    for name in names_of(text, key):
        if name in written:
            return name
    raise NotDerivableError(f"config.json lacks {key}; add it with its value, {getattr(text, key)}")
