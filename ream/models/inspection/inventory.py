"""How a model's parameters and bytes are divided over its parts, from the headers of its shards alone."""

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields

from ream.models.family.architecture import Architecture
from ream.models.family.family import Family, RouterTensor
from ream.models.quantization.names import logical_shape
from ream.models.storage.checkpoint import Checkpoint

PLAIN_BYTES = 2  # of a value in bfloat16, in which a quantised tensor is written without its quantisation


@dataclass(frozen=True)
class Part:
    """Size totals of a set of tensors.

    Attributes:
        parameters: of the model; scales of quantised tensors do not count.
        bytes: on disk.
        plain_bytes: on disk, if all quantised tensors were written in bfloat16.
        weights: parameters that a token is multiplied with: those of tensors with two or more axes.
        outputs: number of values that these products give for a token.
    """

    parameters: int = 0
    bytes: int = 0
    plain_bytes: int = 0
    weights: int = 0
    outputs: int = 0

    def __add__(self, other: "Part") -> "Part":
        """The totals of both sets."""
        return Part(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def share(self, kept: int, experts: int) -> "Part":
        """The totals of ``kept`` experts, where this part is of ``experts`` experts that are all alike."""
        return Part(*(value // experts * kept for value in astuple(self)))


def summed(parts: Iterable[Part]) -> Part:
    """The totals of all parts."""
    return sum(parts, Part())


@dataclass(frozen=True)
class LayerParts:
    """The parts of a decoder layer or of a multi-token layer.

    Attributes:
        other: attention, norms, dense MLP, and a multi-token layer's projection.
        shared: shared experts: all that the MoE block has beside its routed experts and its router.
        router: of all N experts; empty in a dense layer.
        experts: the N routed experts; empty in a dense layer.
        copies: copies of the embedding and the head that multi-token layers may have; a walk does not load them.
    """

    other: Part = field(default_factory=Part)
    shared: Part = field(default_factory=Part)
    router: Part = field(default_factory=Part)
    experts: Part = field(default_factory=Part)
    copies: Part = field(default_factory=Part)

    @property
    def all(self) -> Part:
        """The totals of the layer."""
        return self.other + self.shared + self.router + self.experts + self.copies


@dataclass(frozen=True)
class Inventory:
    """A model's parts.

    Attributes:
        layers: the decoder's layers, then the multi-token layers.
        outside: the embedding, the head and the norm before it.
        embedding: the embedding alone.
        vision: what a multimodal model has beside its text model.
        dropped: multi-token layers that are left out of what is written.
        largest: number of parameters of the largest tensor in the layers, routed experts and routers aside.
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
        """The totals of the model."""
        return self.outside + self.vision + self.dropped + summed(layer.all for layer in self.layers)

    @property
    def experts(self) -> Part:
        """The totals of the routed experts of all layers."""
        return summed(layer.experts for layer in self.layers)

    def kept(self, kept: int, experts: int) -> Part:
        """The totals of the compressed model, with ``kept`` of ``experts`` experts in every MoE layer."""
        routed = [layer.experts + layer.router for layer in self.layers]
        rest = self.outside + self.vision + summed(layer.other + layer.shared + layer.copies for layer in self.layers)
        return rest + summed(part.share(kept, experts) for part in routed)

    def active(self, architecture: Architecture, kept: int) -> int:
        """Number of parameters that a token uses, with embedding and head, without vision and multi-token layers.

        Args:
            architecture: of the model.
            kept: number of experts in every MoE layer, of which a token uses top_k.
        """
        total, experts = self.outside.parameters, architecture.experts
        for layer in self.layers[: architecture.layers]:
            total += (layer.other + layer.shared).parameters + layer.router.share(kept, experts).parameters
            total += layer.experts.share(architecture.top_k, experts).parameters
        return total


def inventory(checkpoint: Checkpoint, architecture: Architecture) -> Inventory:
    """Divide a checkpoint's tensors over the parts of its model.

    Args:
        checkpoint: whose headers are used; nothing is read.
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
            kind = "outside" if _of_text(name, family, text) else "vision"
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
            LayerParts(**{field.name: part(index, field.name) for field in fields(LayerParts)})
            for index in range(depth)
        ),
        outside=part(-1, "outside"),
        embedding=Part(*_measured(checkpoint, family.embedding)),
        vision=part(-1, "vision"),
        dropped=part(-1, "dropped"),
        largest=largest,
        eager_attention=any(name.endswith(".sinks") for name in checkpoint.logical),
    )


def _kind(name: str, architecture: Architecture, index: int) -> str:
    """The field of LayerParts that a tensor of a layer belongs to."""
    role = architecture.roles.get(name)
    if role is not None and index in architecture.moe_layers:
        if role.expert is not None and role.expert >= architecture.experts:
            return "other"  # of a row of the router without an expert
        return "router" if isinstance(role.kind, RouterTensor) else "experts"
    family = architecture.family
    own = family.module_name(name.removeprefix(architecture.layer_prefix(index)))
    return "shared" if index in architecture.moe_layers and own.startswith(f"{family.block}.") else "other"


def _of_text(name: str, family: Family, prefixes: tuple[str, ...]) -> bool:
    """Whether a tensor outside of layers is the text model's; a derived family knows all of these by name."""
    if not family.derived:
        return name.startswith(prefixes)
    return name in (family.embedding, family.final_norm, family.head) or name in family.outside


def _measured(checkpoint: Checkpoint, name: str) -> tuple[int, ...]:
    """The fields of the Part of one tensor."""
    headers, form = checkpoint.headers_of(name), checkpoint.form
    shape = logical_shape(form, headers)
    size, stored = math.prod(shape), sum(info.bytes for info in headers.values())
    plain = PLAIN_BYTES * size if form is not None and form.key in headers else stored
    return (size, stored, plain, size, size // shape[-1]) if len(shape) > 1 else (size, stored, plain, 0, 0)


def _multi_token_own(architecture: Architecture) -> dict[str, tuple[int, str]]:
    """The tensors that multi-token layers have beside their decoder layers', to layer index and field of LayerParts."""
    extra, result = architecture.family.multi_token, {}
    if extra is None:
        return {}
    for layer in range(architecture.layers, architecture.depth + architecture.dropped):
        for name in extra.own:
            whole = architecture.multi_token_name(layer, name)
            result[whole] = (layer, "copies" if name in extra.shared else "other")
    return result
