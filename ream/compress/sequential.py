"""Sequential: each layer is compressed on what the compressed layers before it make of the calibration text.

A refit to the target ``global`` needs the original's hidden states, too: its walk takes every sequence twice, the first
n through the compressed layers, the other n through the original's.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ream.compress.decide import absorbed, group_layer
from ream.compress.neuron_choice import choose_neurons
from ream.compress.refit_layer import LayerTokens, refit_layer, summary
from ream.compress.statistics_file import layer_file
from ream.compress.totals import LayerTotals, sums_of
from ream.core.alignment import align_groups
from ream.core.composition import Composition
from ream.core.recipe import LayerRecipe, Recipe
from ream.machine.available import free_threads
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.loaded_layer import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import CompressedLayer
from ream.recipe.recipe_file import layer_of, layer_tensors, read_layer
from ream.walk.state import WalkState
from ream.walk.transfers import Back, onto
from ream.walk.walk import Batches, Pass, Probes, walk

if TYPE_CHECKING:  # only where torchrun has started several processes
    from ream.walk.ranks import Share


def compress_sequentially(
    decoder: Decoder,
    data: Batches,
    probes: Probes,
    method: Composition,
    kept: int,
    group_size: int,
    state: WalkState,
    progress: Progress,
    facts: Mapping[str, Any],
    share: "Share | None" = None,
) -> Recipe:
    """Statistics, saliency, grouping, alignment, merge, refit and propagation, layer by layer.

    Attention runs once a layer: the MoE inputs and residuals of all tokens are kept on the host, or in mapped files,
    until the layer's experts are decided, then the compressed experts, in the checkpoint's dtype, give the next layer's
    hidden states.

    Args:
        share: where the tokens are one rank's, how all ranks decide on a layer by all tokens; not with a refit, nor
            where neurons are chosen, which take all tokens of a layer together.
    """
    architecture, checkpoint = decoder.architecture, decoder.checkpoint
    sequences, refitted = len(data.ids), method.refit
    own = [slice(part.start, min(part.stop, sequences)) for part in data]  # of the compressed model's stream

    def moe_layer(
        index: int, layer: LoadedLayer, block: MoEBlock, hidden: Tensor, leaving: Tensor, counted: Tensor
    ) -> dict[str, Tensor]:
        known = None if share is None else share.known(index)
        totals = LayerTotals(block, probes, "softmax" if method.scores == "softmax" else None)
        shape = (sequences, *hidden.shape[1:])

        def own_parts() -> Iterator[slice]:
            return state.parts(own)

        inputs = state.room("inputs", shape, hidden.dtype)
        targets = state.room("targets", shape, hidden.dtype) if refitted else None
        pieces = (piece for part in state.parts(walked) for piece in halves(part, sequences, len(walked.ids)))
        with Back(decoder.device) as back, torch.no_grad():
            for piece, (entering,) in onto(decoder.device, pieces, hidden):
                residual, x = layer(entering)
                assert x is not None
                if piece.start >= sequences:  # the original's own stream
                    back.put(leaving, piece, residual + block(x))
                else:
                    if known is None:
                        totals.update(piece, x, counted[piece])
                    if refitted is not None and targets is not None and refitted.target == "layer":
                        back.put(targets, piece, block(x))
                    back.put(leaving, piece, residual)
                    back.put(inputs, piece, x)
                if piece.stop % walked.rows == 0 or piece.stop == len(walked.ids):  # else half of a micro-batch
                    progress.update(1)
        layer.check()  # before anything is decided on what it gave

        def decide(measured: Mapping[str, Tensor]) -> LayerRecipe:
            grouped = group_layer(method, sums_of(measured), kept, group_size, architecture.router_groups)
            experts = block.experts
            if method.merging == "neurons":
                return choose_neurons(decoder, index, grouped, experts, inputs, counted[:sequences], own_parts)
            members, threads = absorbed(grouped), free_threads(decoder.device)
            sample = measured["probes"].to(decoder.device)
            found = align_groups(members, experts.__getitem__, method.alignment, sample, block.unit, threads)
            return replace(grouped, permutations=found)

        report: dict[str, Tensor] = {}
        with torch.no_grad():
            if share is None:
                decided = decide(totals.result())
            else:
                if known is None:
                    together = share.together(index, totals.result())
                    known = share.decided(index, lambda: layer_tensors(decide(together)))
                decided = layer_of(known)
            del totals
            block.free()  # before there are the compressed experts, too
            compressed = decoder.block(index, CompressedLayer(checkpoint, architecture, index, decided))
            if refitted is not None and targets is not None:
                for part in state.parts(own):
                    if refitted.target == "global":
                        original = slice(part.start + sequences, part.stop + sequences)
                        targets[part] = leaving[original] - leaving[part]
                    targets[part] -= compressed(inputs[part].to(decoder.device)).to(hidden.device)
                passes = itertools.count(1)

                def refit_parts() -> Iterator[slice]:
                    progress.note(f"refit of layer {index}, pass {next(passes)}")
                    return own_parts()

                def room(name: str, dtype: torch.dtype) -> Tensor:
                    return state.room(name, shape, dtype)

                tokens = LayerTokens(inputs, targets, counted[:sequences], refit_parts, room)
                decided, compressed, errors = refit_layer(decoder, index, decided, compressed, tokens, refitted)
                report = errors.tensors()
                progress.note("")
            with Back(decoder.device) as back:
                for part, (x, residual) in onto(decoder.device, own_parts(), inputs, leaving):
                    back.put(leaving, part, residual + compressed(x))
        return layer_tensors(decided) | report

    walked = streams(data, method)
    walk(decoder, [Pass(walked, state, moe_layer)], progress)
    if refitted is not None:
        facts = {**facts, "refit": {str(index): summary(state.layer(index)) for index in architecture.moe_layers}}
    return recipe_of(state.folder, architecture.moe_layers, facts)


def recipe_of(folder: Path, layers: Iterable[int], facts: Mapping[str, Any]) -> Recipe:
    """The recipe of a finished walk.

    Args:
        folder: of its state. layers: those with experts. facts: of the recipe.
    """
    return Recipe({index: read_layer(layer_file(folder, index)) for index in layers}, facts)


def streams(data: Batches, method: Composition) -> Batches:
    """What a method takes through the layers: its sequences, twice where the original's stream is needed."""
    if method.refit is None or method.refit.target != "global":
        return data
    return Batches(data.ids.repeat(2, 1), data.mask.repeat(2, 1), data.rows)


def halves(part: slice, sequences: int, rows: int) -> Iterator[slice]:
    """A part of all rows, cut after the first ``sequences``, where the original's stream begins if there is one."""
    stop = min(part.stop, rows)
    if part.start < sequences < stop:
        yield slice(part.start, sequences)
        yield slice(sequences, stop)
    else:
        yield slice(part.start, stop)
