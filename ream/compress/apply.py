"""The one function by which a recipe becomes tensors: what is evaluated is what would be written."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from ream.core.experts import Expert
from ream.core.merging import merged
from ream.core.recipe import LayerRecipe, Recipe, check_layer
from ream.errors import UserError
from ream.models.architecture import Architecture, Role
from ream.models.checkpoint import DTYPES, Checkpoint, OutputTensor, TensorInfo, tensor_bytes
from ream.models.expert_weights import read_expert
from ream.models.families import Family, RouterTensor
from ream.models.layout import ExpertTensor


class CompressedLayer:
    """The experts and the router of one layer after a recipe (`BlockWeights`), computed when they are read."""

    def __init__(self, checkpoint: Checkpoint, architecture: Architecture, layer: int, recipe: LayerRecipe) -> None:
        """Raises:
        UserError: the recipe does not fit the layer.
        """
        try:
            check_layer(recipe, architecture.experts, architecture.width)
        except ValueError as error:
            raise UserError(f"recipe, layer {layer}: {error}; it belongs to another model") from None
        self.checkpoint, self.architecture, self.layer, self.recipe = checkpoint, architecture, layer, recipe
        self.kept: list[int] = recipe.groups.kept.tolist()
        self._merged: Callable[[int], Expert] = lru_cache(maxsize=2)(self._merge)

    def __len__(self) -> int:
        return len(self.kept)

    def expert(self, position: int) -> Expert:
        """Weights of a kept expert, in the checkpoint's dtype."""
        return self._merged(position)

    def router(self, kind: RouterTensor) -> Tensor:
        """A router's tensor with the entries of the kept experts."""
        tensor = self.checkpoint.read(self.architecture.tensor_name(self.layer, kind))
        return tensor.index_select(kind.axis, torch.tensor(self.kept))

    def alone(self, position: int) -> bool:
        """Whether nothing is merged into the kept expert at that position."""
        return len(self.recipe.groups.members(position)) == 1

    def share(self, kind: ExpertTensor, position: int) -> bytes | bytearray:
        """The bytes of a kept expert in a tensor of the layout; those of the original where nothing is merged in."""
        if not self.alone(position):
            return tensor_bytes(kind.pack(self.expert(position)))
        original = self.kept[position]
        if kind.stacked:
            return self.checkpoint.raw(self.architecture.tensor_name(self.layer, kind), row=original)
        return self.checkpoint.raw(self.architecture.tensor_name(self.layer, kind, original))

    def _merge(self, position: int) -> Expert:
        members = self.recipe.groups.members(position).tolist()
        experts = [read_expert(self.checkpoint, self.architecture, self.layer, member) for member in members]
        if len(experts) == 1:
            return experts[0]
        permutations = [self.recipe.permutations.get(member) for member in members]
        return merged(
            experts,
            self.recipe.weights[members].tolist(),
            [None if permutation is None else torch.from_numpy(permutation) for permutation in permutations],
        )


def compressed_layers(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> dict[int, CompressedLayer]:
    """All MoE layers under a recipe; of multi-token layers, either all or none, which then are left out.

    Raises:
        UserError: the recipe is for other layers, or does not fit one.
    """
    decoder = [layer for layer in architecture.moe_layers if layer < architecture.layers]
    if sorted(recipe.layers) not in (list(architecture.moe_layers), decoder):
        raise UserError(
            f"the recipe is for MoE layers {sorted(recipe.layers)}, the model has {list(architecture.moe_layers)}"
        )
    counts = {len(layer.groups.kept) for layer in recipe.layers.values()}
    if len(counts) > 1:
        raise UserError(f"the recipe keeps different numbers of experts, {sorted(counts)}; the config has room for one")
    return {
        index: CompressedLayer(checkpoint, architecture, index, layer) for index, layer in sorted(recipe.layers.items())
    }


def drops_multi_token(architecture: Architecture, recipe: Recipe) -> bool:
    """Whether the model has multi-token layers that the recipe leaves out."""
    return architecture.multi_token + architecture.dropped > 0 and max(recipe.layers) < architecture.layers


def output_tensors(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> dict[str, list[OutputTensor]]:
    """What to write, by the original's shards and in their order; a kept expert takes its new index's name."""
    layers = compressed_layers(checkpoint, architecture, recipe)
    left_out = multi_token_tensors(checkpoint, architecture) if drops_multi_token(architecture, recipe) else set()
    shards: dict[str, list[OutputTensor]] = {}
    for info in checkpoint.tensors.values():
        role = architecture.roles.get(info.name)
        if info.name in left_out:
            continue
        if role is None:
            made: OutputTensor | None = OutputTensor(info.name, info.dtype, info.shape, _copy(checkpoint, info.name))
        else:
            made = _changed(layers[role.layer], role, info)
        if made is not None:
            shards.setdefault(info.shard, []).append(made)
    return shards


def _changed(layer: CompressedLayer, role: Role, info: TensorInfo) -> OutputTensor | None:
    """A tensor of experts or router after the recipe; None where it is of an expert that goes."""
    kind = role.kind
    if isinstance(kind, RouterTensor):
        shape = tuple(len(layer) if axis == kind.axis else size for axis, size in enumerate(info.shape))
        return OutputTensor(info.name, info.dtype, shape, lambda: [tensor_bytes(layer.router(kind))])
    if role.expert is None:
        return OutputTensor(
            info.name,
            info.dtype,
            (len(layer), *info.shape[1:]),
            lambda: (layer.share(kind, position) for position in range(len(layer))),
        )
    if role.expert not in layer.kept:
        return None
    position = layer.kept.index(role.expert)
    name = layer.architecture.tensor_name(role.layer, kind, position)
    return OutputTensor(name, info.dtype, info.shape, lambda: [layer.share(kind, position)])


def multi_token_tensors(checkpoint: Checkpoint, architecture: Architecture) -> set[str]:
    """Names of all tensors of multi-token layers."""
    extra = architecture.family.multi_token
    if extra is None:
        return set()
    layers = range(architecture.layers, architecture.depth + architecture.dropped)
    own = {architecture.multi_token_name(layer, name) for layer in layers for name in extra.own}
    prefixes = tuple(architecture.layer_prefix(layer) for layer in layers)
    return {name for name in checkpoint.tensors if name in own or name.startswith(prefixes)}


def text_state_dict(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None) -> dict[str, Tensor]:
    """The text model's tensors under a recipe (None: the original), by the names of transformers' text-only model.

    Without multi-token layers, which transformers' models do not have.
    """
    left_out = multi_token_tensors(checkpoint, architecture)
    prefixes = architecture.family.text_prefixes
    return {
        prefixes[prefix] + name.removeprefix(prefix): tensor
        for name, tensor in _tensors(checkpoint, architecture, recipe)
        for prefix in prefixes
        if name.startswith(prefix) and name not in left_out
    }


def _tensors(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None) -> Iterator[tuple[str, Tensor]]:
    if recipe is None:
        yield from ((name, checkpoint.read(name)) for name in checkpoint.tensors)
        return
    for tensors in output_tensors(checkpoint, architecture, recipe).values():
        for tensor in tensors:
            data = bytearray().join(tensor.make())
            yield tensor.name, torch.frombuffer(data, dtype=DTYPES[tensor.dtype]).reshape(tensor.shape)


def compressed_config(text: str, family: Family, kept: int, drop_multi_token: bool = False) -> str:
    """config.json with its number of experts changed; the text itself where nothing is.

    Args:
        text: of config.json. family: of the model.
        kept: K.
        drop_multi_token: the checkpoint is written without its multi-token layers.
    """
    config = json.loads(text)
    numbers = config[family.text] if family.text else config
    changes = {key: kept for key in family.experts_keys if key in numbers}
    if drop_multi_token and family.multi_token is not None:
        changes |= {key: 0 for key in family.multi_token.count_keys if key in numbers}
    if all(numbers[key] == value for key, value in changes.items()):
        return text
    changed = dict(numbers) | changes
    config = {**config, family.text: changed} if family.text else changed
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _copy(checkpoint: Checkpoint, name: str) -> Callable[[], Iterable[bytearray]]:
    return lambda: [checkpoint.raw(name)]
