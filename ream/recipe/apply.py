"""The one function by which a recipe becomes tensors: what is evaluated is what would be written."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ream.core.experts import Expert
from ream.core.merging import merged
from ream.core.recipe import LayerRecipe, Recipe, check_layer
from ream.core.refit.neuron_choice import assembled, mean_rows
from ream.errors import UserError
from ream.models.dtypes import DTYPES
from ream.models.expert_weights import read_expert, read_share
from ream.models.family.architecture import Architecture, Role
from ream.models.family.expert_tensors import pack, unpacked
from ream.models.family.family import Family, RouterTensor
from ream.models.family.layout import PARTS, ExpertTensor
from ream.models.quantization.names import logical_names
from ream.models.quantization.tensors import read_logical, requantised
from ream.models.storage.checkpoint import Checkpoint, TensorInfo, shards_of
from ream.models.storage.shard_writing import OutputTensor, tensor_bytes

T = TypeVar("T")
PLAIN = "BF16"  # of what is written without its quantisation


class Slot(Generic[T]):
    """The value that was made last, and of what."""

    def __init__(self) -> None:
        self._key: tuple[int, int] | None = None
        self._value: T | None = None

    def get(self, key: tuple[int, int], make: Callable[[], T]) -> T:
        """The value of a layer and position: the last one, or a new one in its place."""
        if self._value is None or key != self._key:
            self._key = self._value = None
            self._value = make()
            self._key = key
        return self._value


class Latest:
    """The expert that was made last: it is written as three tensors or more, one after the other.

    One expert of a whole checkpoint, not of each layer: those of a large model have 100 MB.
    """

    def __init__(self) -> None:
        self.merged: Slot[Expert] = Slot()
        self.made: Slot[Expert] = Slot()
        self.stored: Slot[dict[str, dict[str, Tensor]]] = Slot()


class CompressedLayer:
    """The experts and the router of one layer after a recipe (`BlockWeights`), computed when they are read."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Architecture,
        layer: int,
        recipe: LayerRecipe,
        latest: "Latest | None" = None,
    ) -> None:
        """Args:
            checkpoint: the original. architecture: what it is. layer: index. recipe: what becomes of its experts.
            latest: shared with the other layers of a checkpoint that is written.

        Raises:
            UserError: the recipe does not fit the layer.
        """
        try:
            check_layer(recipe, architecture.experts, architecture.width)
        except ValueError as error:
            raise UserError(f"recipe, layer {layer}: {error}; it belongs to another model") from None
        self.checkpoint, self.architecture, self.layer, self.recipe = checkpoint, architecture, layer, recipe
        self._corrected = recipe.corrected
        for position in list(recipe.corrections)[:1]:
            for part, tensor in recipe.corrections[position].items():
                found, wanted = list(tensor.shape), [architecture.width, architecture.hidden]
                wanted = wanted[::-1] if part == "down" else wanted
                if found != wanted:
                    raise UserError(
                        f"recipe, layer {layer}: corrections have shape {found}, the {part} projections {wanted}; it "
                        "belongs to another model"
                    )
        self.kept: list[int] = recipe.groups.kept.tolist()
        self._last = latest or Latest()

    def __len__(self) -> int:
        return len(self.kept)

    def expert(self, position: int) -> Expert:
        """Weights of a kept expert as they will be read from what is written."""
        return self._last.made.get((self.layer, position), lambda: self._make(position))

    def router(self, kind: RouterTensor) -> Tensor:
        """A router's tensor with the kept experts' entries; where neurons were chosen, the groups' weighted means."""
        tensor = self.checkpoint.read(self.architecture.tensor_name(self.layer, kind))
        if self.recipe.neurons:
            groups = map(self.recipe.groups.members, range(len(self)))
            return mean_rows(tensor, kind.axis, groups, self.recipe.weights)
        return tensor.index_select(kind.axis, torch.tensor(self.kept))

    def alone(self, position: int) -> bool:
        """Whether nothing is merged into the kept expert at that position."""
        return len(self.recipe.groups.members(position)) == 1

    def passes(self, kind: ExpertTensor, position: int) -> bool:
        """Whether a kept expert's share of a tensor is the original's: nothing is merged in, and it is not refitted."""
        corrected = position in self.recipe.corrections and not self._corrected.isdisjoint(PARTS[kind.part])
        return self.alone(position) and not corrected

    def name(self, kind: ExpertTensor, expert: int) -> str:
        """Name of the tensor that holds an original expert's share."""
        return self.architecture.tensor_name(self.layer, kind, None if kind.stacked else expert)

    def share(self, kind: ExpertTensor, position: int, suffix: str = "") -> bytes | bytearray:
        """The stored bytes of a kept expert; those of the original where they pass through.

        Args:
            kind: of the layout. position: of the kept expert.
            suffix: of what is stored, where the checkpoint is quantised.
        """
        if not self.passes(kind, position):
            return tensor_bytes(self._stored(position)[kind.name][suffix])
        original = self.kept[position]
        row = original if kind.stacked else None
        return self.checkpoint.raw(self.checkpoint.logical[self.name(kind, original)][suffix], row)

    def values(self, kind: ExpertTensor, position: int) -> Tensor:
        """A kept expert's share of a tensor, as it is without quantising it again."""
        return pack(kind, self._merged(position))

    def _merged(self, position: int) -> Expert:
        return self._last.merged.get((self.layer, position), lambda: self._merge(position))

    def _stored(self, position: int) -> dict[str, dict[str, Tensor]]:
        return self._last.stored.get((self.layer, position), lambda: self._store(position))

    def _store(self, position: int) -> dict[str, dict[str, Tensor]]:
        """What is stored anew of an expert: name in the layout to suffix to tensor, in the checkpoint's own format."""
        expert, form = self._merged(position), self.checkpoint.form
        result = {}
        for kind in self.architecture.layout:
            if self.passes(kind, position):
                continue
            name = self.name(kind, self.kept[position])
            result[kind.name] = requantised(form, name, pack(kind, expert), self.checkpoint.headers_of(name))
        return result

    def _make(self, position: int) -> Expert:
        original, form, read = self.kept[position], self.checkpoint.form, {}
        for kind in self.architecture.layout:
            if self.passes(kind, position):
                read[kind.name] = read_share(self.checkpoint, self.architecture, self.layer, kind, original)
                continue
            stored = self._stored(position)[kind.name]
            quantised = form is not None and form.key in stored
            parts = {suffix: suffix for suffix in stored}
            read[kind.name] = read_logical(form, kind.name, parts, stored.__getitem__) if quantised else stored[""]
        return Expert(**unpacked(self.architecture.layout, read))

    def _merge(self, position: int) -> Expert:
        members = self.recipe.groups.members(position).tolist()
        experts = (read_expert(self.checkpoint, self.architecture, self.layer, member) for member in members)
        weights = self.recipe.weights[members].tolist()
        if position in self.recipe.neurons:
            expert = assembled(experts, weights, self.recipe.neurons[position])
        else:
            permutations = [self.recipe.permutations.get(member) for member in members]
            aligned = [None if permutation is None else torch.from_numpy(permutation) for permutation in permutations]
            expert = merged(experts, weights, aligned)
        if position in self.recipe.corrections:
            corrections = self.recipe.corrections[position].items()
            return replace(expert, **{part: tensor.to(getattr(expert, part).dtype) for part, tensor in corrections})
        return expert


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
    latest = Latest()
    return {
        index: CompressedLayer(checkpoint, architecture, index, layer, latest)
        for index, layer in sorted(recipe.layers.items())
    }


def drops_multi_token(architecture: Architecture, recipe: Recipe) -> bool:
    """Whether the model has multi-token layers that the recipe leaves out."""
    return architecture.multi_token + architecture.dropped > 0 and max(recipe.layers) < architecture.layers


def output_tensors(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe, unquantised: bool = False
) -> dict[str, list[OutputTensor]]:
    """What to write, by the original's shards and in their order; a kept expert takes its new index's name.

    Args:
        checkpoint: the original. architecture: what it is. recipe: what becomes of its experts.
        unquantised: write what is quantised in bfloat16 instead of in the original's format.
    """
    layers = compressed_layers(checkpoint, architecture, recipe)
    left_out = multi_token_tensors(checkpoint, architecture) if drops_multi_token(architecture, recipe) else set()
    owners = {stored: (name, suffix) for name, parts in checkpoint.logical.items() for suffix, stored in parts.items()}
    around = {layer: shards_of(checkpoint, names) for layer, names in _by_layer(architecture).items()}
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
            make = _plain_copy(checkpoint, name) if plain else _copy(checkpoint, info.name)
            reads = shards_of(checkpoint, [name]) if plain else frozenset([info.shard])
            made: OutputTensor | None = OutputTensor(info.name, info.dtype, info.shape, make, reads)
        else:
            made = _changed(layers[role.layer], role, info, suffix, plain)
            made = made and replace(made, reads=around[role.layer])
        if made is not None:
            shards.setdefault(info.shard, []).append(made)
    return shards


def _by_layer(architecture: Architecture) -> dict[int, list[str]]:
    """Tensors of experts and routers by layer: what a merged expert may be made of."""
    names: dict[int, list[str]] = {}
    for name, role in architecture.roles.items():
        names.setdefault(role.layer, []).append(name)
    return names


def output_parameters(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> int:
    """Parameters of the compressed model; what scales and zero points add to quantised tensors is not counted."""
    kept = len(next(iter(recipe.layers.values())).groups.kept)
    left_out = multi_token_tensors(checkpoint, architecture) if drops_multi_token(architecture, recipe) else set()
    total = 0
    for name in checkpoint.logical:
        size, role = math.prod(checkpoint.shape(name)), architecture.roles.get(name)
        if name in left_out:
            continue
        if role is None:
            total += size
        elif role.expert is None:
            total += size // architecture.experts * kept
        elif role.expert < kept:
            total += size
    return total


def _changed(layer: CompressedLayer, role: Role, info: TensorInfo, suffix: str, plain: bool) -> OutputTensor | None:
    """A stored tensor of experts or router after the recipe; None where it is of an expert that goes."""
    kind = role.kind
    if isinstance(kind, RouterTensor):
        shape = tuple(len(layer) if axis == kind.axis else size for axis, size in enumerate(info.shape))
        dtype = DTYPES[info.dtype]
        return OutputTensor(info.name, info.dtype, shape, lambda: [tensor_bytes(layer.router(kind).to(dtype))])

    def share(position: int) -> bytes | bytearray:
        if plain:
            return tensor_bytes(layer.values(kind, position).to(DTYPES[PLAIN]))
        return layer.share(kind, position, suffix)

    if role.expert is None:
        positions = range(len(layer))
        return OutputTensor(info.name, info.dtype, (len(layer), *info.shape[1:]), lambda: map(share, positions))
    if role.expert not in layer.kept:
        return None
    position = layer.kept.index(role.expert)
    name = layer.architecture.tensor_name(role.layer, kind, position) + ("" if plain else suffix)
    return OutputTensor(name, info.dtype, info.shape, lambda: [share(position)])


def multi_token_tensors(checkpoint: Checkpoint, architecture: Architecture) -> set[str]:
    """Names of all tensors of multi-token layers."""
    extra = architecture.family.multi_token
    if extra is None:
        return set()
    layers = range(architecture.layers, architecture.depth + architecture.dropped)
    own = {architecture.multi_token_name(layer, name) for layer in layers for name in extra.own}
    prefixes = tuple(architecture.layer_prefix(layer) for layer in layers)
    return {name for name in checkpoint.logical if name in own or name.startswith(prefixes)}


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
        yield from ((name, checkpoint.read(name)) for name in checkpoint.logical)
        return
    written = {
        tensor.name: tensor
        for tensors in output_tensors(checkpoint, architecture, recipe).values()
        for tensor in tensors
    }

    def read(name: str) -> Tensor:
        tensor = written[name]
        data = bytearray().join(tensor.make())
        return torch.frombuffer(data, dtype=DTYPES[tensor.dtype]).reshape(tensor.shape)

    form = checkpoint.form
    for name, parts in logical_names(form, written).items():
        yield name, read(name) if set(parts) == {""} else read_logical(form, name, parts, read)


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


def _plain_copy(checkpoint: Checkpoint, name: str) -> Callable[[], Iterable[bytes]]:
    return lambda: [tensor_bytes(checkpoint.read(name).to(DTYPES[PLAIN]))]


def _copy(checkpoint: Checkpoint, name: str) -> Callable[[], Iterable[bytearray]]:
    return lambda: [checkpoint.raw(name)]
