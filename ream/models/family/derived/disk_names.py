"""The names on disk of a checkpoint's tensors, and the names of the same in transformers' text model."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ream.models.family.derived.conversion import Destination, destinations
from ream.models.family.derived.place import Place
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.names import UNNEEDED

NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")  # a whole word of a name


@dataclass(frozen=True)
class DiskNames:
    """Names on disk.

    Attributes:
        prefix: start of a layer's, with ``{layer}``.
        inside: name within a layer to its destination within the layer of the text model: of every kind of layer, with
            one name for all experts of a pattern.
        embedding: of the embedding.
        final_norm: of the norm behind the last layer; "" where something else makes the last hidden states.
        norm: attribute of that norm in the decoder.
        head: of the head, or the name that it has in transformers where the embedding is the head; None without a head.
        outside: of all other tensors of the text model outside of layers, to their names in it.
        unknown: names that transformers' model has no use for, one of each pattern.
        integers: those within a layer whose tensors hold whole numbers.
    """

    prefix: str
    inside: Mapping[str, Destination]
    embedding: str
    final_norm: str
    norm: str
    head: str | None
    outside: Mapping[str, str]
    unknown: tuple[str, ...]
    integers: tuple[str, ...] = ()


def disk_names(model: Any, text_path: str, place: Place, names: Iterable[str], hidden: int) -> DiskNames:
    """Find the names.

    Args:
        model: all layers of the model that checkpoints are written from, without weights.
        text_path: of the text model in it.
        place: of the experts in the text model.
        names: on disk.
        hidden: H.

    Raises:
        NotDerivableError: tensors are not found, or layers have no common start of their names.
    """
    known = _representatives(names)
    places = destinations(model, known)
    decoder = ".".join(part for part in (text_path, place.decoder) if part)
    start = f"{decoder}.layers." if decoder else "layers."
    by_target = {place.name: name for name, place in places.items() if not place.operations}
    layered = {name: place for name, place in places.items() if place.name.startswith(start)}
    if not layered:
        raise NotDerivableError(f"no tensor of the checkpoint belongs to the layers of {type(model).__name__}")
    prefix = Counter(_prefix(name) for name in layered).most_common(1)[0][0]
    inside = {}
    for name, goal in layered.items():
        if _prefix(name) != prefix:
            raise NotDerivableError(
                f"{name} belongs to a layer, and all else of a layer has names that begin with {prefix}"
            )
        rest = goal.name.removeprefix(start).partition(".")[2]
        own = NUMBER.split(name, maxsplit=1)[1].removeprefix(".")
        second = goal.second.removeprefix(start).partition(".")[2]
        inside[own] = replace(goal, name=rest, second=second)
    text = model.get_submodule(text_path)
    norm = _norm(text.get_submodule(place.decoder), hidden)
    embedding = f"{_path(model, text.get_input_embeddings())}.weight"
    head = _head(model, text_path)
    own = (
        _found(by_target, embedding),
        _found(by_target, f"{decoder}.{norm}.weight" if decoder else f"{norm}.weight") if norm else "",
        None if head is None else by_target.get(f"{_path(model, head)}.weight", f"{_path(model, head)}.weight"),
    )
    top = f"{text_path}." if text_path else ""
    outside = {
        name: place.name.removeprefix(top)
        for name, place in places.items()
        if name not in layered and name not in own and place.name.startswith(top)
    }
    whole_numbers = {name for name, tensor in model.state_dict().items() if not tensor.is_floating_point()}
    integers = {
        NUMBER.split(name, maxsplit=1)[1].removeprefix(".") for name in layered if layered[name].name in whole_numbers
    }
    unknown = tuple(name for name in known if name not in places)
    return DiskNames(prefix, inside, own[0], own[1], norm, own[2], outside, unknown, tuple(sorted(integers)))


def _representatives(names: Iterable[str]) -> list[str]:
    """Of names that differ in their numbers alone, that with the lowest; without tensors that no layer needs."""
    lowest: dict[str, tuple[list[int], str]] = {}
    for name in names:
        if name.endswith(UNNEEDED):
            continue
        pattern, numbers = NUMBER.sub("{}", name), [int(number) for number in NUMBER.findall(name)]
        if pattern not in lowest or numbers < lowest[pattern][0]:
            lowest[pattern] = (numbers, name)
    return [name for _, name in lowest.values()]


def _prefix(name: str) -> str:
    """The start of a layer's names, with ``{layer}`` for the first number."""
    number = NUMBER.search(name)
    return name if number is None else f"{name[: number.start()]}{{layer}}."


def _norm(decoder: nn.Module, hidden: int) -> str:
    """The attribute of the norm behind the last layer: the decoder's only child that has a weight of H values alone.

    Returns:
        "" where there is none: hyper-connections may end with a mixer of their streams (Qwen4).
    """
    found = [
        name
        for name, child in decoder.named_children()
        if {tuple(tensor.shape) for tensor in child.parameters()} == {(hidden,)}
    ]
    if "norm" in found or len(found) == 1:
        return "norm" if "norm" in found else found[0]
    if not found:
        return ""
    raise NotDerivableError(
        f"{type(decoder).__name__} has {len(found)} norms beside its layers, so the final one is not known"
    )


def _head(model: Any, text_path: str) -> Any:
    """The head of the model or, where a model of several parts has none, of the part that its text model is in."""
    words = text_path.split(".")
    for count in range(len(words)):
        part = model.get_submodule(".".join(words[:count]))
        head = part.get_output_embeddings() if hasattr(part, "get_output_embeddings") else None
        if head is not None:
            return head
    return None


def _path(model: nn.Module, wanted: nn.Module) -> str:
    """The path of a module."""
    paths: dict[nn.Module, str] = {module: path for path, module in model.named_modules()}
    return paths[wanted]


def _found(by_target: Mapping[str, str], target: str) -> str:
    """The name on disk of a tensor.

    Raises:
        NotDerivableError: the checkpoint has no such tensor.
    """
    if target not in by_target:
        raise NotDerivableError(f"the checkpoint has no tensor that transformers loads to {target}")
    return by_target[target]
