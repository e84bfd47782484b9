"""The tensors of MoE blocks on disk: experts, routers, and tables of experts by token id."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from ream.models.family.derived.conversion import Destination
from ream.models.family.derived.disk_names import DiskNames
from ream.models.family.derived.layouts import disk_layout
from ream.models.family.derived.module_side import ModuleSide
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.family import RouterTensor
from ream.models.family.layout import ExpertTensor, Layout

Shapes = Mapping[str, tuple[int, ...]]


def inside_experts(names: DiskNames, modules: ModuleSide) -> dict[str, Destination]:
    """Names within a layer of the experts' tensors, to destinations within the block."""
    start, kinds = modules.place.start, {kind.name for kind in modules.module.layout}
    found = {
        name: replace(place, name=place.name.removeprefix(start))
        for name, place in names.inside.items()
        if place.name.startswith(start) and place.name.removeprefix(start) in kinds
    }
    if not found:
        raise NotDerivableError("the checkpoint has no tensors of routed experts")
    return found


def layout_of(names: DiskNames, shapes: Shapes, modules: ModuleSide) -> Layout:
    """The layout of experts on disk, with names within the layer."""
    inside = inside_experts(names, modules)
    start = names.prefix.format(layer=modules.place.layer)
    own = {name: shapes[start + name] for name in inside if start + name in shapes}
    missing = inside.keys() - own.keys()
    if missing:
        raise NotDerivableError(f"the checkpoint has no tensor {start}{min(missing)}")
    layout = disk_layout(inside, own, modules.module.layout, modules.expert_hidden, modules.width)
    return tuple(replace(kind, beyond=_beyond(kind, start, shapes, modules)) for kind in layout)


def _beyond(kind: ExpertTensor, start: str, shapes: Shapes, modules: ModuleSide) -> int:
    """How many tensors of a kind there are for rows of the router without an expert: none, or for each of them.

    LongCat-Flash is published without; transformers writes gate and up projections that nothing reads.
    """
    rows = max(own.beyond for own in modules.module.layout)
    if kind.stacked or not rows:
        return 0
    first = modules.experts
    there = [start + kind.name.format(expert=index) in shapes for index in range(first, first + rows)]
    return rows if all(there) else 0


def _routers(names: DiskNames, modules: ModuleSide) -> list[RouterTensor]:
    """The router's tensors on disk, with names within the layer."""
    by_target = {place.name: name for name, place in names.inside.items() if not place.operations}
    found = []
    for router in modules.routers:
        target = f"{modules.place.start}{router.name}"
        if target not in by_target:
            raise NotDerivableError(f"the checkpoint has no tensor that transformers loads to {target} of a layer")
        found.append(RouterTensor(by_target[target], router.axis, router.name in modules.exact, beyond=router.beyond))
    return found


def _tables(names: DiskNames, modules: ModuleSide) -> list[RouterTensor]:
    """The tables on disk of whole numbers in the MoE blocks of some layers, with names within the layer."""
    return [
        RouterTensor(name, numbers=True)
        for name in names.integers
        if names.inside[name].name.startswith(modules.place.start) and modules.place.by_ids
    ]


def all_routers(names: DiskNames, modules: ModuleSide, text: nn.Module, layers: tuple[int, ...]) -> list[RouterTensor]:
    """The router's tensors and tables, of which those are marked that some of the layers with experts do not have."""
    routers = _routers(names, modules) + _tables(names, modules)
    decoder = text.get_submodule(modules.place.decoder).get_submodule("layers")
    there = [decoder.get_submodule(str(layer)).state_dict() for layer in layers]
    own = {router: names.inside[router.name].name for router in routers}
    return [replace(router, some=not all(own[router] in tensors for tensors in there)) for router in routers]
