"""Several compressed models through the layers at once: a layer's weights are read once for all of them.

Models whose layers have been the same so far are one stream: attention runs once for all models that enter a layer
with the same hidden states, and equal models run once. So mixes that decide alike cost little.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ream.core.recipe import LayerRecipe
from ream.machine.memory import trim
from ream.models.decoder import Decoder
from ream.models.layers.loaded import LoadedLayer
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import CompressedLayer
from ream.search.mix_recipes import layer_key
from ream.walk.batches import Batches
from ream.walk.mapped import Room
from ream.walk.read_ahead import read_ahead
from ream.walk.release import release

Layers = Mapping[int, LayerRecipe]  # the recipe of every MoE layer that comes before the head
# Called with the number of a sequence and, for every stream, the hidden states [T, ...] of its real tokens that leave
# the last layer.
Seen = Callable[[int, Mapping[str, Tensor]], None]
Note = Callable[[str], None]  # takes a few words about what is being done


class OnceRead(Checkpoint):
    """A checkpoint that keeps the tensors that it has read until it is told to forget them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Args:
        checkpoint: whose tensors are read.
        """
        self.__dict__.update(checkpoint.__dict__)
        self._read: dict[tuple[str, int | None], Tensor] = {}

    def read(self, name: str, row: int | None = None) -> Tensor:
        """See `Checkpoint`; the tensor must not be changed."""
        if (name, row) not in self._read:
            self._read[name, row] = super().read(name, row)
        return self._read[name, row]

    def forget(self) -> None:
        """Free all tensors."""
        self._read.clear()


@dataclass(frozen=True)
class Places:
    """Where hidden states lie.

    Attributes:
        memory: bytes of them to keep in memory.
        folder: for mapped files beyond that.
    """

    memory: float
    folder: Path


@torch.no_grad()
def walk_models(
    decoder: Decoder,
    data: Batches,
    models: Sequence[Layers | None],
    seen: Seen,
    places: Places,
    note: Note,
) -> list[str]:
    """Take the text through several models.

    Args:
        decoder: of the original; multi-token layers are left out.
        data: the text.
        models: their recipes; None is the original.
        seen: told of every sequence behind the last layer.
        places: of hidden states.
        note: told which layer the models are in.

    Returns:
        The key of each model's stream, as ``seen`` is given it; equal models have the same.

    Raises:
        UserError: a tensor is missing, weights or activations hold NaN or Inf, or there is no room for mapped files.
    """
    architecture = decoder.architecture
    walked = _Walked(decoder, data, len(models), places)
    keys = [""] * len(models)
    for index in range(architecture.layers):
        note(f"{len(models)} models, layer {index + 1} of {architecture.layers}")
        moe = index in architecture.moe_layers
        entering, keys = (
            keys,
            [_key(key, index, model) if moe else key for key, model in zip(keys, models, strict=True)],
        )
        with decoder.layer(index) as layer:
            read_ahead(decoder.checkpoint, architecture, index + 1)
            for key in dict.fromkeys(entering):
                own = {own: model for before, own, model in zip(entering, keys, models, strict=True) if before == key}
                walked.take(layer, key, {name: model[index] if moe and model else None for name, model in own.items()})
        walked.checkpoint.forget()
        release(decoder.checkpoint, architecture, index + 1)
        trim()
    walked.show(seen)
    return keys


def _key(before: str, index: int, model: Layers | None) -> str:
    """The key of the stream behind a MoE layer."""
    return f"{before}/{'original' if model is None else layer_key(model[index])}"


class _Walked:
    """The hidden states of all streams on the host, each under its key."""

    def __init__(self, decoder: Decoder, data: Batches, models: int, places: Places) -> None:
        self.checkpoint = OnceRead(decoder.checkpoint)
        self._decoder, self._data = decoder, data
        shape, architecture = (*data.ids.shape, *decoder.stream), decoder.architecture
        size = (models + 2) * torch.Size(shape).numel() * decoder.dtype.itemsize
        self._room = Room(None if size <= places.memory else places.folder)
        self._shape, self._hidden = shape, (*data.ids.shape, architecture.hidden)
        self._free = [f"stream-{number}" for number in range(models)]
        self._names = {"": self._free.pop()}  # key of a stream to the name of its tensor
        self._streams = {"": self._room.empty(self._names[""], shape, decoder.dtype)}
        table = decoder.table()
        for part in self._room.parts(data):
            self._streams[""][part] = decoder.embed(data.ids[part], table)

    def take(self, layer: LoadedLayer, entering: str, models: Mapping[str, LayerRecipe | None]) -> None:
        """Take a stream through a layer, with the block of each model that shares it.

        Args:
            layer: with its weights.
            entering: key of the stream.
            models: key of the stream that leaves to the layer's recipe; None for the original's block, or none.
        """
        stream = self._streams[entering]
        if layer.index not in self._decoder.architecture.moe_layers:
            for part in self._room.parts(self._data):
                stream[part] = layer(stream[part])[0].to(stream.device)
            return
        kept, inputs = self._before_block(layer, stream)
        del self._streams[entering]
        own = self._names.pop(entering)
        for place, (key, recipe) in enumerate(models.items()):
            name = own if place == 0 else self._free.pop()
            left = stream if place == 0 else self._room.empty(name, self._shape, self._decoder.dtype)
            weights = None if recipe is None else self._compressed(layer.index, recipe)
            block = self._decoder.block(layer.index, weights)
            for part in self._room.parts(self._data):
                leaving = layer.leaving(kept[part].to(layer.device), block(inputs[part].to(layer.device)))
                left[part] = leaving.to(left.device)
            block.free()
            self._streams[key], self._names[key] = left, name

    def _before_block(self, layer: LoadedLayer, stream: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer keeps and what its block is given, of all tokens."""
        kept, inputs = self._room.empty("kept", self._shape, self._decoder.dtype), torch.empty(0)
        for number, part in enumerate(self._room.parts(self._data)):
            residual, x = layer(stream[part])
            assert x is not None
            if number == 0:
                inputs = self._room.empty(f"inputs-{x.shape[-1]}", (*self._hidden[:2], x.shape[-1]), x.dtype)
            kept[part], inputs[part] = residual.to(kept.device), x.to(inputs.device)
        return kept, inputs

    def _compressed(self, index: int, recipe: LayerRecipe) -> CompressedLayer:
        return CompressedLayer(self.checkpoint, self._decoder.architecture, index, recipe)

    def show(self, seen: Seen) -> None:
        """Give the hidden states behind the last layer, one sequence at a time."""
        for row in self._room.parts(slice(row, row + 1) for row in range(len(self._data.ids))):
            mask = self._data.mask[row][0]
            seen(row.start, {key: stream[row][0][mask] for key, stream in self._streams.items()})
