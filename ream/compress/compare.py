"""The hidden states of compressed models beside the original's, layer by layer, on text held out from calibration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

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


# Called with a recipe's name, or None for the original, and a sequence's hidden states before the head [T, H].
Seen = Callable[[str | None, Tensor], None]


def compare(
    decoder: Decoder, data: Batches, recipes: Mapping[str, Recipe], seen: Seen, memory: float, progress: Progress
) -> dict[str, list[LayerError]]:
    """Walk the original and the models of several recipes through the layers, one layer in memory at a time.

    Multi-token layers, which do not come before the head, are left out.

    Args:
        decoder: of the original model.
        data: the text.
        recipes: by any names.
        seen: called with the hidden states before the head, after the final norm, one sequence at a time.
        memory: bytes of hidden states to keep in memory. If not all recipes fit, the original is walked several times.
        progress: told of every micro-batch that has gone through a layer of a model, `steps` times in all.

    Returns:
        Name of the recipe to the errors of every layer.
    """
    errors: dict[str, list[LayerError]] = {}
    for number, names in enumerate(_portions(list(recipes), _at_once(decoder, data, memory))):
        portion = {name: recipes[name] for name in names}
        errors |= _walk(decoder, data, portion, seen, number == 0, progress)
    return errors


def steps(decoder: Decoder, data: Batches, recipes: int, memory: float) -> int:
    """How often `compare` reports a micro-batch to its progress; arguments are those of `compare`."""
    walks = max(1, -(-recipes // _at_once(decoder, data, memory)))
    return (recipes + walks) * len(data) * decoder.architecture.layers


def _at_once(decoder: Decoder, data: Batches, memory: float) -> int:
    """The number of recipes whose streams fit in memory; at least one."""
    # Three more are there for the original: its own stream, its MoE blocks' inputs and their outputs.
    stream = data.ids.numel() * decoder.architecture.hidden * decoder.dtype.itemsize
    return max(1, int(memory // stream) - 3)


def _portions(names: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """The names in portions of ``most`` at most. There is always one portion, if an empty one: for the original."""
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
    """Walk the original beside the models of some recipes; arguments are those of `compare`.

    ``show_original``: whether ``seen`` is called for the original, too.
    """
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
                block_error = None if block is None else _block_error(decoder, block, data, inputs, outputs)
                for part in data:
                    stream[part] = _leaving(layer, block, stream[part])
                    progress.update(1)
                errors[name].append(
                    LayerError(
                        index, block_error, _relative(decoder.states(stream), decoder.states(original), data.mask)
                    )
                )
                if block is not None:
                    block.free()
        del inputs, outputs
        release(decoder.checkpoint, architecture, index + 1)
        trim()
    norm = decoder.final_norm()
    shown: list[tuple[str | None, Tensor]] = [(None, original)] if show_original else []
    for shown_name, states in [*shown, *streams.items()]:
        for row, mask in zip(states, data.mask, strict=True):
            seen(shown_name, norm(row[mask].to(decoder.device)))
    return errors


def _original_layer(
    decoder: Decoder, layer: LoadedLayer, data: Batches, stream: Tensor, moe: bool, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Take the original's stream through a layer, in place.

    Returns:
        Inputs and outputs [n, L, H] of its MoE block; two empty tensors for a dense layer.
    """
    block = decoder.block(layer.index) if moe else None
    rows, hidden = len(stream) if block else 0, decoder.architecture.hidden
    widths = (hidden if block is None else block.input_width(hidden), hidden)
    inputs, outputs = (stream.new_empty(rows, stream.shape[1], width) for width in widths)
    for part in data:
        residual, x = layer(stream[part])
        if block is not None and x is not None:
            inputs[part] = x.to(stream.device)
            outputs[part] = block(x).to(stream.device)
            residual = layer.leaving(residual, outputs[part].to(residual.device))
        stream[part] = residual.to(stream.device)
        progress.update(1)
    if block is not None:
        block.free()
    return inputs, outputs


def _leaving(layer: LoadedLayer, block: MoEBlock | None, hidden: Tensor) -> Tensor:
    """The hidden states that leave the layer with this MoE block, on the host."""
    residual, x = layer(hidden)
    if block is not None and x is not None:
        residual = layer.leaving(residual, block(x))
    return residual.to(hidden.device)


def _block_error(decoder: Decoder, block: MoEBlock, data: Batches, inputs: Tensor, outputs: Tensor) -> float:
    """The error of a compressed MoE block on the original block's inputs."""
    compressed = torch.cat([block(inputs[part].to(decoder.device)).to(outputs.device) for part in data])
    return _relative(compressed, outputs, data.mask)


def _relative(approximate: Tensor, exact: Tensor, mask: Tensor) -> float:
    """sqrt(Σ‖exact − approximate‖² / Σ‖exact‖²) over real tokens, summed in float64; 0 if both are zero."""
    difference = size = 0.0
    for approximate_row, exact_row, real in zip(approximate, exact, mask, strict=True):
        wanted = exact_row[real].double()
        difference += float((wanted - approximate_row[real].double()).square().sum())
        size += float(wanted.square().sum())
    return sqrt(difference / size) if size else (0.0 if not difference else float("inf"))
