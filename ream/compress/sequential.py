"""Sequential: each layer is compressed on what the compressed layers before it make of the calibration text."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ream.compress.apply import CompressedLayer
from ream.compress.decide import align_layer, group_layer
from ream.compress.recipe_file import pack_layer, unpack_layer
from ream.compress.state import WalkState
from ream.compress.walk import Batches, Probes, walk
from ream.core.alignment import align
from ream.core.recipe import Recipe
from ream.core.statistics import LayerStatistics
from ream.models.decoder import Decoder, LoadedLayer, MoEBlock
from ream.params import Method
from ream.progress import Progress


def compress_sequentially(
    decoder: Decoder,
    data: Batches,
    probes: Probes,
    method: Method,
    kept: int,
    group_size: int,
    state: WalkState,
    progress: Progress,
    facts: Mapping[str, Any],
) -> Recipe:
    """Statistics, saliency, grouping, alignment, merge and propagation, layer by layer.

    Attention runs once a layer: the MoE inputs and residuals of all tokens are kept on the host, or in mapped files,
    until the layer's experts are decided, then the compressed experts, in the checkpoint's dtype, give the next layer's
    hidden states.
    """
    architecture, checkpoint = decoder.architecture, decoder.checkpoint

    def moe_layer(
        index: int, layer: LoadedLayer, block: MoEBlock, hidden: Tensor, leaving: Tensor, counted: Tensor
    ) -> dict[str, Tensor]:
        statistics = LayerStatistics(block.experts, block.unit)
        inputs = state.room("inputs", tuple(hidden.shape), hidden.dtype)
        for part in state.parts(data):
            residual, x = layer(hidden[part], data.mask[part])
            assert x is not None
            probes.take(part, x, counted[part])
            flat = x.reshape(-1, x.shape[-1])
            with torch.no_grad():
                routing = block.route(flat, "softmax" if method.scores == "softmax" else None)
                statistics.update(flat, routing, counted[part].reshape(-1).to(flat.device))
            leaving[part], inputs[part] = residual.to(hidden.device), x.to(hidden.device)
            progress.update(1)
        decided = group_layer(method, statistics.result(), kept, group_size, architecture.router_groups)
        experts, sample = block.experts, probes.result().to(decoder.device)

        def permutation(centroid: int, member: int) -> np.ndarray:
            return align(experts[centroid], experts[member], method.alignment, sample, block.unit)

        with torch.no_grad():
            decided = replace(decided, permutations=align_layer(decided, permutation))
            del statistics, experts
            block.free()  # before there are the compressed experts, too
            compressed = decoder.block(index, CompressedLayer(checkpoint, architecture, index, decided))
            for part in state.parts(data):
                leaving[part] += compressed(inputs[part].to(decoder.device)).to(hidden.device)
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in pack_layer(decided).items()}

    walk(decoder, data, state, moe_layer, progress)
    layers = {
        index: unpack_layer({name: tensor.numpy() for name, tensor in state.layer(index).items()})
        for index in architecture.moe_layers
    }
    return Recipe(layers, facts)
