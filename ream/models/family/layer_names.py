"""The tensors of a decoder layer by transformers' names, and where they are on disk."""

from collections.abc import Iterable

from ream.models.family.architecture import Architecture
from ream.models.family.names import UNNEEDED


def beside_experts(architecture: Architecture, layer: int, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The tensors of a layer beside its routed experts and its router, which is what a walk loads as it is.

    Args:
        architecture: of the checkpoint.
        layer: index of the layer.
        names: of all tensors on disk.

    Returns:
        Name in transformers' decoder layer, to the name on disk; to several where the tensor is joined of them, and to
        that of the whole for a half (`Family.halves`).
    """
    prefix, family = architecture.layer_prefix(layer), architecture.family
    own = family.multi_token.own if family.multi_token is not None and layer >= architecture.layers else ()
    inside = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    parts = {stored for several in family.joined.values() for stored in several}
    parts |= {half.stored for half in family.halves.values()}
    moe = layer in architecture.moe_layers
    found = {
        family.module_name(rest) if moe else family.placed.get(rest, rest): (name,)
        for rest, name in inside.items()
        if name not in architecture.roles and rest not in own and rest not in parts and not rest.endswith(UNNEEDED)
    }
    joined = {
        name: tuple(inside[part] for part in several) for name, several in family.joined.items() if several[0] in inside
    }
    halves = {name: (inside[half.stored],) for name, half in family.halves.items() if half.stored in inside}
    return found | joined | halves
