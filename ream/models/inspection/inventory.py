"""How a model's parameters and bytes are shared out over its parts, from the headers of its shards alone."""

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields

from ream.models.family.architecture import Architecture
from ream.models.family.family import RouterTensor
from ream.models.quantization.names import logical_shape
from ream.models.storage.checkpoint import Checkpoint

PLAIN_BYTES = 2  # bfloat16, of what is written without its quantisation


@dataclass(frozen=True)
class Part:
    """What a set of tensors comes to.

    Attributes:
        parameters: of the model; scales of quantised tensors are none.
        bytes: on disk.
        plain_bytes: on disk, were what is quantised written in bfloat16.
        weights: parameters that a token is multiplied with, which are those of tensors with two axes or more.
        outputs: values that a token gets from these, in all.
    """

    parameters: int = 0
    bytes: int = 0
    plain_bytes: int = 0
    weights: int = 0
    outputs: int = 0

    def __add__(self, other: "Part") -> "Part":
        return Part(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def share(self, kept: int, experts: int) -> "Part":
        """The part of ``kept`` of ``experts`` experts that are all alike."""
        return Part(*(value // experts * kept for value in astuple(self)))


def summed(parts: Iterable[Part]) -> Part:
    """The sum of parts."""
    return sum(parts, Part())


@dataclass(frozen=True)
class LayerParts:
    """A decoder layer, or a multi-token one.

    Attributes:
        other: attention, norms, dense MLP, a multi-token layer's projection.
        shared: what the MoE block has beside its experts and its router: shared experts.
        router, experts: of all N experts; empty in a dense layer.
        copies: of the embedding and the head, which multi-token layers may carry; a walk does without.
    """

    other: Part = field(default_factory=Part)
    shared: Part = field(default_factory=Part)
    router: Part = field(default_factory=Part)
    experts: Part = field(default_factory=Part)
    copies: Part = field(default_factory=Part)

    @property
    def all(self) -> Part:
        return self.other + self.shared + self.router + self.experts + self.copies


@dataclass(frozen=True)
class Inventory:
    """A model's parts.

    Attributes:
        layers: the decoder's, then the multi-token ones.
        outside: embedding, head, the last norm; embedding: the first of them alone.
        vision: what a multimodal model has beside its text model.
        dropped: multi-token layers that are to be left out of what is written.
        largest: parameters of the layers' largest tensor that is none of an expert.
        eager_attention: whether transformers' attention holds the scores of all heads in memory.
    """

    layers: tuple[LayerParts, ...]
    outside: Part
    embedding: Part
    vision: Part
    dropped: Part
    largest: int
    eager_attention: bool

    @property
    def all(self) -> Part:
        return self.outside + self.vision + self.dropped + summed(layer.all for layer in self.layers)

    @property
    def experts(self) -> Part:
        """Routed experts of all layers."""
        return summed(layer.experts for layer in self.layers)

    def kept(self, kept: int, experts: int) -> Part:
        """What is left with ``kept`` of ``experts`` experts in every layer."""
        routed = [layer.experts + layer.router for layer in self.layers]
        rest = self.outside + self.vision + summed(layer.other + layer.shared + layer.copies for layer in self.layers)
        return rest + summed(part.share(kept, experts) for part in routed)

    def active(self, architecture: Architecture, kept: int) -> int:
        """Parameters of the text model that a token uses, embedding and head among them, multi-token layers not.

        Args:
            architecture: of the model. kept: experts in every layer, of which top_k are used.
        """
        total, experts = self.outside.parameters, architecture.experts
        for layer in self.layers[: architecture.layers]:
            total += (layer.other + layer.shared).parameters + layer.router.share(kept, experts).parameters
            total += layer.experts.share(architecture.top_k, experts).parameters
        return total


def inventory(checkpoint: Checkpoint, architecture: Architecture) -> Inventory:
    """Share out a checkpoint's tensors.

    Args:
        checkpoint: with its headers; nothing else is read.
        architecture: of the checkpoint.
    """
    family, depth = architecture.family, architecture.depth
    sums: dict[tuple[int, str], list[int]] = {}
    largest = 0
    own, text = _multi_token_own(architecture), tuple(family.text_prefixes)
    prefixes = {architecture.layer_prefix(index): index for index in range(depth + architecture.dropped)}
    lengths = {prefix.count(".") for prefix in prefixes}
    for name in checkpoint.logical:
        words = name.split(".")
        heads = (".".join(words[:length]) + "." for length in lengths)
        index = next((prefixes[head] for head in heads if head in prefixes), -1)
        if name in own:
            index, kind = own[name]
        elif index < 0:
            kind = "outside" if name.startswith(text) else "vision"
        else:
            kind = _kind(name, architecture, index)
        place = (-1, "dropped") if index >= depth else (index, kind)
        total = sums.setdefault(place, [0] * len(fields(Part)))
        values = _measured(checkpoint, name)
        for position, value in enumerate(values):
            total[position] += value
        if kind in ("other", "shared"):
            largest = max(largest, values[0])

    def part(index: int, kind: str) -> Part:
        return Part(*sums.get((index, kind), ()))

    return Inventory(
        layers=tuple(
            LayerParts(**{each.name: part(index, each.name) for each in fields(LayerParts)}) for index in range(depth)
        ),
        outside=part(-1, "outside"),
        embedding=Part(*_measured(checkpoint, family.embedding)),
        vision=part(-1, "vision"),
        dropped=part(-1, "dropped"),
        largest=largest,
        eager_attention=any(name.endswith(".sinks") for name in checkpoint.logical),
    )


def _kind(name: str, architecture: Architecture, index: int) -> str:
    """Of LayerParts, where a tensor of a layer belongs."""
    role = architecture.roles.get(name)
    if role is not None and index in architecture.moe_layers:
        return "router" if isinstance(role.kind, RouterTensor) else "experts"
    return (
        "shared" if index in architecture.moe_layers and name.startswith(architecture.block_prefix(index)) else "other"
    )


def _measured(checkpoint: Checkpoint, name: str) -> tuple[int, ...]:
    """The fields of the Part that one tensor is."""
    headers, form = checkpoint.headers_of(name), checkpoint.form
    shape = logical_shape(form, headers)
    size, stored = math.prod(shape), sum(info.bytes for info in headers.values())
    plain = PLAIN_BYTES * size if form is not None and form.key in headers else stored
    return (size, stored, plain, size, size // shape[-1]) if len(shape) > 1 else (size, stored, plain, 0, 0)


def _multi_token_own(architecture: Architecture) -> dict[str, tuple[int, str]]:
    """Tensors of multi-token layers beside their decoder layers': the layer's index, and where they belong."""
    extra, result = architecture.family.multi_token, {}
    if extra is None:
        return {}
    for layer in range(architecture.layers, architecture.depth + architecture.dropped):
        for name in extra.own:
            whole = architecture.multi_token_name(layer, name)
            result[whole] = (layer, "copies" if name in extra.shared else "other")
    return result
