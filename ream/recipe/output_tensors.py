"""The tensors of the compressed checkpoint: names, shapes, dtypes, and functions that make their bytes when written.

A logical tensor is one weight of the model. It is stored as one tensor or, quantised, as several: ``logical[name]``
maps suffixes to stored names, and a stored name is the logical one with the suffix ("" for a plain tensor). A role says
which layer, kind and expert a logical tensor belongs to; embeddings, attention and norms have none.
"""

from collections.abc import Callable
from dataclasses import replace

from ream.core.recipe import Recipe
from ream.models.dtypes import DTYPES
from ream.models.family.architecture import Architecture, Role
from ream.models.family.family import RouterTensor
from ream.models.family.layout import ExpertTensor
from ream.models.storage.checkpoint import Checkpoint, TensorInfo, shards_of
from ream.models.storage.shard_writing import OutputTensor, tensor_bytes
from ream.recipe.apply import PLAIN, CompressedLayer, compressed_layers
from ream.recipe.multi_token import left_out_tensors


def output_tensors(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe, unquantised: bool = False
) -> dict[str, list[OutputTensor]]:
    """What to write, by the original's shards and in their order; a kept expert's tensor takes the new index's name.

    Args:
        checkpoint: the original.
        architecture: of the original.
        recipe: what becomes of the experts.
        unquantised: write quantised tensors in bfloat16 instead of the original's format.

    Raises:
        UserError: the recipe does not fit the model.
    """
    layers = compressed_layers(checkpoint, architecture, recipe)
    left_out = left_out_tensors(checkpoint, architecture, recipe)
    owners = {stored: (name, suffix) for name, parts in checkpoint.logical.items() for suffix, stored in parts.items()}
    sources = {layer: shards_of(checkpoint, names) for layer, names in _names_by_layer(architecture).items()}
    shards: dict[str, list[OutputTensor]] = {}
    for info in checkpoint.tensors.values():
        name, suffix = owners[info.name]
        if name in left_out:
            continue
        plain = unquantised and checkpoint.quantised(name)
        if plain:
            if info.name != next(iter(checkpoint.logical[name].values())):
                continue  # the tensor is written where the first of its parts lies
            info = replace(info, name=name, dtype=PLAIN, shape=checkpoint.shape(name))
        role = architecture.roles.get(name)
        if role is None:
            made: OutputTensor | None = _untouched(checkpoint, name, info, plain)
        else:
            made = _changed(layers[role.layer], role, info, suffix, plain)
            made = made and replace(made, reads=sources[role.layer])  # shards that must be there when it is made
        if made is not None:
            shards.setdefault(info.shard, []).append(made)
    return shards


def _names_by_layer(architecture: Architecture) -> dict[int, list[str]]:
    """Layer index to the names of its experts' and routers' tensors: all that a merged expert may be made of."""
    names: dict[int, list[str]] = {}
    for name, role in architecture.roles.items():
        names.setdefault(role.layer, []).append(name)
    return names


def _untouched(checkpoint: Checkpoint, name: str, info: TensorInfo, plain: bool) -> OutputTensor:
    """A tensor outside the experts and routers: the original's bytes, or its values decoded to bfloat16."""
    if plain:
        return OutputTensor(
            name,
            info.dtype,
            info.shape,
            lambda: [tensor_bytes(checkpoint.read(name).to(DTYPES[PLAIN]))],
            shards_of(checkpoint, [name]),
        )
    return OutputTensor(info.name, info.dtype, info.shape, lambda: [checkpoint.raw(info.name)], frozenset([info.shard]))


def _changed(layer: CompressedLayer, role: Role, info: TensorInfo, suffix: str, plain: bool) -> OutputTensor | None:
    """A stored tensor of an expert or a router under the recipe; None for an absorbed or removed expert's."""
    kind = role.kind
    if isinstance(kind, RouterTensor):
        axis, shape = kind.axis, info.shape
        if not kind.numbers:
            shape = (*shape[:axis], len(layer) + kind.beyond, *shape[axis + 1 :])
        dtype = DTYPES[info.dtype]
        return OutputTensor(info.name, info.dtype, shape, lambda: [tensor_bytes(layer.router(kind).to(dtype))])
    share = _share_of(layer, kind, suffix, plain)
    if role.expert is None:
        positions = range(len(layer))
        return OutputTensor(info.name, info.dtype, (len(layer), *info.shape[1:]), lambda: map(share, positions))
    architecture, experts = layer.architecture, layer.architecture.experts
    if role.expert >= experts:  # of a row of the router without an expert: stays, behind the kept experts
        made = _untouched(layer.checkpoint, architecture.tensor_name(role.layer, kind, role.expert), info, plain)
        name = architecture.tensor_name(role.layer, kind, role.expert - experts + len(layer))
        return replace(made, name=name + ("" if plain else suffix))
    if role.expert not in layer.kept:
        return None
    position = layer.kept.index(role.expert)
    name = architecture.tensor_name(role.layer, kind, position) + ("" if plain else suffix)
    return OutputTensor(name, info.dtype, info.shape, lambda: [share(position)])


def _share_of(
    layer: CompressedLayer, kind: ExpertTensor, suffix: str, plain: bool
) -> Callable[[int], bytes | bytearray]:
    """A function from a kept expert's position to the bytes of its share of a stored tensor."""
    if plain:
        return lambda position: tensor_bytes(layer.values(kind, position).to(DTYPES[PLAIN]))
    return lambda position: layer.stored_bytes(kind, position, suffix)
