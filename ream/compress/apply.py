"""The one function by which a recipe becomes tensors: what is evaluated is what would be written."""

import json
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ream.core.experts import Expert
from ream.core.merging import merged
from ream.core.recipe import LayerRecipe, Recipe, check_layer
from ream.errors import UserError
from ream.models.architecture import Architecture
from ream.models.checkpoint import Checkpoint, OutputTensor, tensor_bytes
from ream.models.families import Family


class CompressedLayer:
    """The tensors of one layer's experts and router after a recipe, computed when they are read."""

    def __init__(self, checkpoint: Checkpoint, architecture: Architecture, layer: int, recipe: LayerRecipe) -> None:
        """Raises:
        UserError: the recipe does not fit the layer.
        """
        try:
            check_layer(recipe, architecture.experts, architecture.width)
        except ValueError as error:
            raise UserError(f"recipe, layer {layer}: {error}; it belongs to another model") from None
        self.checkpoint, self.architecture, self.layer, self.recipe = checkpoint, architecture, layer, recipe
        self.kept = recipe.groups.kept.tolist()
        self._merged: Callable[[int], Expert] = lru_cache(maxsize=2)(self._merge)
        self._places = {
            architecture.expert_name(layer, position, projection): (position, projection)
            for position in range(len(self.kept))
            for projection in architecture.family.projections
        }

    def read(self, name: str) -> Tensor:
        """A tensor of the compressed layer by its new name, in the checkpoint's dtype."""
        if name not in self._places:
            tensor = self.checkpoint.read(name)
            return tensor[self.kept] if name in self.architecture.roles else tensor
        position, projection = self._places[name]
        if self.alone(position):
            return self.checkpoint.read(self.architecture.expert_name(self.layer, self.kept[position], projection))
        merged_tensor: Tensor = getattr(self._merged(position), projection)
        return merged_tensor

    def alone(self, position: int) -> bool:
        """Whether nothing is merged into the kept expert at that position."""
        return len(self.recipe.groups.members(position)) == 1

    def _merge(self, position: int) -> Expert:
        members = self.recipe.groups.members(position).tolist()
        experts = [read_expert(self.checkpoint, self.architecture, self.layer, member) for member in members]
        permutations = [self.recipe.permutations.get(member) for member in members]
        return merged(
            experts,
            self.recipe.weights[members].tolist(),
            [None if permutation is None else torch.from_numpy(permutation) for permutation in permutations],
        )


def read_expert(checkpoint: Checkpoint, architecture: Architecture, layer: int, expert: int) -> Expert:
    """The weights of one expert of the original."""
    return Expert(
        **{
            projection: checkpoint.read(architecture.expert_name(layer, expert, projection))
            for projection in architecture.family.projections
        }
    )


def compressed_layers(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> dict[int, CompressedLayer]:
    """All MoE layers under a recipe.

    Raises:
        UserError: the recipe is for other layers, or does not fit one.
    """
    if sorted(recipe.layers) != list(architecture.moe_layers):
        raise UserError(
            f"the recipe is for MoE layers {sorted(recipe.layers)}, the model has {list(architecture.moe_layers)}"
        )
    counts = {len(layer.groups.kept) for layer in recipe.layers.values()}
    if len(counts) > 1:
        raise UserError(f"the recipe keeps different numbers of experts, {sorted(counts)}; the config has room for one")
    return {
        index: CompressedLayer(checkpoint, architecture, index, layer) for index, layer in sorted(recipe.layers.items())
    }


def output_tensors(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> dict[str, list[OutputTensor]]:
    """What to write, by the original's shards and in their order; a kept expert takes its new index's name."""
    layers = compressed_layers(checkpoint, architecture, recipe)
    shards: dict[str, list[OutputTensor]] = {}
    for info in checkpoint.tensors.values():
        role = architecture.roles.get(info.name)
        name, shape = info.name, info.shape
        make: Callable[[], bytes | bytearray] = _raw(checkpoint, info.name)
        if role is not None:
            layer = layers[role.layer]
            if role.expert is None:
                shape = (len(layer.kept), *info.shape[1:])
                if len(layer.kept) < architecture.experts:
                    make = _computed(layer, name)
            elif role.expert not in layer.kept:
                continue
            else:
                assert role.projection is not None
                position = layer.kept.index(role.expert)
                name = architecture.expert_name(role.layer, position, role.projection)
                if not layer.alone(position):
                    make = _computed(layer, name)
        shards.setdefault(info.shard, []).append(OutputTensor(name, info.dtype, shape, make))
    return shards


def state_dict(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None) -> dict[str, Tensor]:
    """All tensors of the model under a recipe (None: the original), by their names on disk."""
    if recipe is None:
        return {name: checkpoint.read(name) for name in checkpoint.tensors}
    layers = compressed_layers(checkpoint, architecture, recipe)
    tensors = {}
    for shard in output_tensors(checkpoint, architecture, recipe).values():
        for tensor in shard:
            role = architecture.roles.get(tensor.name)
            read = checkpoint.read if role is None else layers[role.layer].read
            tensors[tensor.name] = read(tensor.name)
    return tensors


def compressed_config(text: str, family: Family, kept: int) -> str:
    """config.json with its number of experts changed; the text itself where that number stays."""
    config = json.loads(text)
    present = [key for key in family.experts_keys if key in config]
    if all(config[key] == kept for key in present):
        return text
    return json.dumps(config | dict.fromkeys(present, kept), indent=2, ensure_ascii=False) + "\n"


def _raw(checkpoint: Checkpoint, name: str) -> Callable[[], bytearray]:
    return lambda: checkpoint.raw(name)


def _computed(layer: CompressedLayer, name: str) -> Callable[[], bytes]:
    return lambda: tensor_bytes(layer.read(name))
