"""The hidden states of compressed models beside the original's, layer by layer, on text that no model was made with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from ream.core.recipe import Recipe
from ream.machine.memory import trim
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.loaded_layer import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import compressed_layers
from ream.walk.release import release
from ream.walk.walk import Batches


@dataclass(frozen=True)
class LayerError:
    """What compressing does to a layer, as relative errors over all real tokens: sqrt(Σ‖y − y'‖² / Σ‖y‖²).

    Attributes:
        index: of the layer.
        block: y is the MoE block's output on what enters it in the original model; None for a dense layer.
        stream: y is the hidden state that leaves the layer, each model in its own stream: the errors of all layers up
            to this one.
    """

    index: int
    block: float | None
    stream: float


# Is given each sequence's hidden states before the head [T, H], real tokens only: of the original (None) or a recipe.
Seen = Callable[[str | None, Tensor], None]


def compare(
    decoder: Decoder, data: Batches, recipes: Mapping[str, Recipe], seen: Seen, memory: float, progress: Progress
) -> dict[str, list[LayerError]]:
    """Walk the original and the models of several recipes through the layers, one layer in memory at a time.

    Multi-token layers, which do not come before the head, are left out.

    Args:
        decoder: of the original. data: the text.
        recipes: by any names.
        seen: is given the hidden states before the head, after the final norm, a sequence at a time.
        memory: bytes of hidden states that may be in memory; with more recipes than that takes, the original is walked
            several times.
        progress: told of every micro-batch that has gone through a layer of a model; `steps` of them.

    Returns:
        The errors of every layer, by the names of the recipes.
    """
    found: dict[str, list[LayerError]] = {}
    for number, names in enumerate(_portions(list(recipes), _at_once(decoder, data, memory))):
        portion = {name: recipes[name] for name in names}
        found |= _walk(decoder, data, portion, seen, number == 0, progress)
    return found


def steps(decoder: Decoder, data: Batches, recipes: int, memory: float) -> int:
    """Micro-batches that go through layers in `compare`."""
    walks = max(1, -(-recipes // _at_once(decoder, data, memory)))
    return (recipes + walks) * len(data) * decoder.architecture.layers


def _at_once(decoder: Decoder, data: Batches, memory: float) -> int:
    # Beside the streams, the original's own, the inputs of its MoE blocks and their outputs.
    stream = data.ids.numel() * decoder.architecture.hidden * decoder.dtype.itemsize
    return max(1, int(memory // stream) - 3)


def _portions(names: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """At least one, which may be empty: the original is walked in any case."""
    yield names[:most]
    for start in range(most, len(names), most):
        yield names[start : start + most]


@torch.no_grad()
def _walk(
    decoder: Decoder,
    data: Batches,
    recipes: Mapping[str, Recipe],
    seen: Seen,
    show_original: bool,
    progress: Progress,
) -> dict[str, list[LayerError]]:
    architecture = decoder.architecture
    layers = {name: compressed_layers(decoder.checkpoint, architecture, recipe) for name, recipe in recipes.items()}
    original = decoder.embed(data.ids)
    streams = {name: original.clone() for name in recipes}
    errors: dict[str, list[LayerError]] = {name: [] for name in recipes}
    for index in range(architecture.layers):
        moe = index in architecture.moe_layers
        with decoder.layer(index) as layer:
            inputs, outputs = _original_layer(decoder, layer, data, original, moe, progress)
            for name, stream in streams.items():
                block = decoder.block(index, layers[name][index]) if moe else None
                own = None if block is None else _own_error(decoder, block, data, inputs, outputs)
                for part in data:
                    stream[part] = _left(layer, block, stream[part])
                    progress.update(1)
                errors[name].append(LayerError(index, own, _relative(stream, original, data.mask)))
                if block is not None:
                    block.free()
        del inputs, outputs
        release(decoder.checkpoint, architecture, index + 1)
        trim()
    norm = decoder.final_norm()
    for shown, states in [*([(None, original)] if show_original else []), *streams.items()]:
        for row, mask in zip(states, data.mask, strict=True):
            seen(shown, norm(row[mask].to(decoder.device)))
    return errors


def _original_layer(
    decoder: Decoder, layer: LoadedLayer, data: Batches, stream: Tensor, moe: bool, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Take the original's stream through a layer; returns its MoE block's inputs and outputs, none of a dense one."""
    block = decoder.block(layer.index) if moe else None
    inputs, outputs = (torch.empty_like(stream if moe else stream[:0]) for _ in range(2))
    for part in data:
        residual, x = layer(stream[part])
        if block is not None and x is not None:
            inputs[part] = x.to(stream.device)
            outputs[part] = block(x).to(stream.device)
            residual = residual + outputs[part].to(residual.device)
        stream[part] = residual.to(stream.device)
        progress.update(1)
    if block is not None:
        block.free()
    return inputs, outputs


def _left(layer: LoadedLayer, block: MoEBlock | None, hidden: Tensor) -> Tensor:
    """What leaves the layer with this block as its MoE block, on the host."""
    residual, x = layer(hidden)
    if block is not None and x is not None:
        residual = residual + block(x)
    return residual.to(hidden.device)


def _own_error(decoder: Decoder, block: MoEBlock, data: Batches, inputs: Tensor, outputs: Tensor) -> float:
    made = torch.cat([block(inputs[part].to(decoder.device)).to(outputs.device) for part in data])
    return _relative(made, outputs, data.mask)


def _relative(found: Tensor, wanted: Tensor, mask: Tensor) -> float:
    """sqrt(Σ‖wanted − found‖² / Σ‖wanted‖²) over real tokens, summed in float64; 0 where both are zero."""
    off = size = 0.0
    for one, other, real in zip(found, wanted, mask, strict=True):
        exact = other[real].double()
        off += float((exact - one[real].double()).square().sum())
        size += float(exact.square().sum())
    return sqrt(off / size) if size else (0.0 if not off else float("inf"))
