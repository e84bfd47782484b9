"""The hidden states of compressed models beside the original's, layer by layer, on text held out from calibration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor

from ream.core.recipe import Recipe
from ream.machine.memory import trim
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.layers.loaded import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import compressed_layers
from ream.walk.batches import Batches
from ream.walk.mapped import Room
from ream.walk.release import release


@dataclass(frozen=True)
class LayerError:
    """Relative errors of one compressed layer over all real tokens: sqrt(Σ‖y − y'‖² / Σ‖y‖²).

    Attributes:
        index: of the layer.
        block: y is the MoE block's output on the block's input in the original model; None for a dense layer.
        stream: y is the hidden state that leaves the layer, in each model's own stream, so it includes the errors of
            all layers up to this one.
    """

    index: int
    block: float | None
    stream: float


# Called with the number of a sequence, and for every recipe, and None for the original, the hidden states [T, ...] of
# its real tokens that leave the last layer.
Seen = Callable[[int, Mapping[str | None, Tensor]], None]


@torch.no_grad()
def compare(
    decoder: Decoder,
    data: Batches,
    recipes: Mapping[str, Recipe],
    seen: Seen,
    memory: float,
    folder: Path,
    progress: Progress,
) -> dict[str, list[LayerError]]:
    """Walk the original and the models of several recipes through the layers, one layer in memory at a time.

    Each layer is read once. Multi-token layers, which do not come before the head, are left out.

    Args:
        decoder: of the original model.
        data: the text.
        recipes: by any names.
        seen: called with the hidden states behind the last layer, of all models, one sequence at a time.
        memory: bytes of hidden states to keep in memory. If those of all models do not fit, they lie in mapped files.
        folder: for mapped files.
        progress: told of every micro-batch that has gone through a layer of a model, `steps` times in all.

    Returns:
        Name of the recipe to the errors of every layer.

    Raises:
        UserError: a tensor is missing, weights or activations hold NaN or Inf, or there is no room for mapped files.
    """
    architecture = decoder.architecture
    layers = {name: compressed_layers(decoder.checkpoint, architecture, recipe) for name, recipe in recipes.items()}
    walked = _Walked(decoder, data, list(recipes), memory, folder)
    errors: dict[str, list[LayerError]] = {name: [] for name in recipes}
    for index in range(architecture.layers):
        moe = index in architecture.moe_layers
        with decoder.layer(index) as layer:
            walked.take_original(layer, moe, progress)
            for name in recipes:
                block = decoder.block(index, layers[name][index]) if moe else None
                block_error = None if block is None else walked.block_error(block)
                errors[name].append(LayerError(index, block_error, walked.take(name, layer, block, progress)))
                if block is not None:
                    block.free()
        release(decoder.checkpoint, architecture, index + 1)
        trim()
    for row in walked.room.parts(slice(row, row + 1) for row in range(len(data.ids))):
        mask = data.mask[row][0]
        seen(row.start, {name: stream[row][0][mask] for name, stream in walked.streams.items()})
    return errors


def steps(decoder: Decoder, data: Batches, recipes: int) -> int:
    """How often `compare` reports a micro-batch to its progress; arguments are those of `compare`."""
    return (recipes + 1) * len(data) * decoder.architecture.layers


class _Walked:
    """The streams of the original (None) and of all recipes, on the host, and what the original's block did last.

    Attributes:
        streams: [n, L, ...] hidden states that leave the layer that was taken last.
        room: where they lie.
    """

    def __init__(self, decoder: Decoder, data: Batches, names: list[str], memory: float, folder: Path) -> None:
        self._decoder, self._data = decoder, data
        block, shape = (*data.ids.shape, decoder.architecture.hidden), (*data.ids.shape, *decoder.stream)
        numbers = 2 * torch.Size(block).numel() + (1 + len(names)) * torch.Size(shape).numel()
        self.room = Room(None if numbers * decoder.dtype.itemsize <= memory else folder)
        # Files have numbers, for names of recipes may be no names of files.
        self.streams: dict[str | None, Tensor] = {
            name: self.room.empty(f"stream-{number}", shape, decoder.dtype)
            for number, name in enumerate([None, *names])
        }
        self._block_shape, self._inputs, self._outputs = block, torch.empty(0), torch.empty(0)
        table = decoder.table()
        for part in self.room.parts(data):
            embedded = decoder.embed(data.ids[part], table)
            for stream in self.streams.values():
                stream[part] = embedded

    def take_original(self, layer: LoadedLayer, moe: bool, progress: Progress) -> None:
        """Take the original's stream through a layer, in place, and keep what its MoE block was given and gave."""
        block, stream = self._decoder.block(layer.index) if moe else None, self.streams[None]
        if moe:
            dtype = self._decoder.dtype
            assert block is not None
            width = block.input_width(self._decoder.architecture.hidden)
            self._inputs = self.room.empty("block-inputs", (*self._block_shape[:2], width), dtype)
            self._outputs = self.room.empty("block-outputs", self._block_shape, dtype)
        for part in self.room.parts(self._data):
            residual, x = layer(stream[part])
            if block is not None and x is not None:
                self._inputs[part] = x.to(stream.device)
                self._outputs[part] = block(x).to(stream.device)
                residual = layer.leaving(residual, self._outputs[part].to(residual.device))
            stream[part] = residual.to(stream.device)
            progress.update(1)
        if block is not None:
            block.free()

    def take(self, name: str, layer: LoadedLayer, block: MoEBlock | None, progress: Progress) -> float:
        """Take a recipe's stream through a layer with its MoE block, in place, and return the error of the stream."""
        stream, error = self.streams[name], _RelativeError()
        for part in self.room.parts(self._data):
            residual, x = layer(stream[part])
            if block is not None and x is not None:
                residual = layer.leaving(residual, block(x))
            stream[part] = residual.to(stream.device)
            own, original = (self._decoder.states(each[part]) for each in (stream, self.streams[None]))
            error.add(own, original, self._data.mask[part])
            progress.update(1)
        return error.result()

    def block_error(self, block: MoEBlock) -> float:
        """The error of a compressed MoE block on the original block's inputs."""
        error = _RelativeError()
        for part in self.room.parts(self._data):
            made = block(self._inputs[part].to(self._decoder.device)).to(self._outputs.device)
            error.add(made, self._outputs[part], self._data.mask[part])
        return error.result()


class _RelativeError:
    """sqrt(Σ‖exact − approximate‖² / Σ‖exact‖²) over real tokens, summed in float64; 0 if both are zero."""

    def __init__(self) -> None:
        self._difference = self._size = 0.0

    def add(self, approximate: Tensor, exact: Tensor, mask: Tensor) -> None:
        """Add sequences [B, L, ...]; ``mask`` [B, L] is True for real tokens."""
        for approximate_row, exact_row, real in zip(approximate, exact, mask, strict=True):
            wanted = exact_row[real].double()
            self._difference += float((wanted - approximate_row[real].double()).square().sum())
            self._size += float(wanted.square().sum())

    def result(self) -> float:
        """The error of all sequences so far."""
        if self._size:
            return sqrt(self._difference / self._size)
        return 0.0 if not self._difference else float("inf")
