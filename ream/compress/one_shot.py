"""One-shot: statistics of all layers from the original model, of each calibration source by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor

from ream.compress.statistics_file import layer_file
from ream.compress.totals import LayerTotals
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.loaded_layer import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.walk.state import WalkState
from ream.walk.transfers import Back, onto
from ream.walk.walk import Batches, MoELayer, Pass, Probes, walk

if TYPE_CHECKING:  # only where torchrun has started several processes
    from ream.walk.ranks import Share


def collect(decoder: Decoder, data: Batches, probes: Probes, state: WalkState, progress: Progress) -> None:
    """`collect_all` of one source."""
    collect_all(decoder, [(data, probes, state)], progress)


def collect_all(
    decoder: Decoder,
    sources: Sequence[tuple[Batches, Probes, WalkState]],
    progress: Progress,
    shares: "Sequence[Share] | None" = None,
) -> None:
    """Walk the original model once and leave, in each state's folder, each MoE layer's Sums and probe inputs.

    Args:
        decoder: of the original. progress: told of every micro-batch that has gone through a layer.
        sources: the tokens of each calibration source, its probes, and where its results go.
        shares: where the tokens are one rank's, how each source's totals come of the results of all ranks.
    """
    each: Sequence[Share | None] = shares or [None] * len(sources)
    walk(
        decoder,
        [
            Pass(data, state, _statistics(data, probes, state, progress, share))
            for (data, probes, state), share in zip(sources, each, strict=True)
        ],
        progress,
    )


def _statistics(data: Batches, probes: Probes, state: WalkState, progress: Progress, share: "Share | None") -> MoELayer:
    def moe_layer(
        index: int, layer: LoadedLayer, block: MoEBlock, hidden: Tensor, leaving: Tensor, counted: Tensor
    ) -> dict[str, Tensor]:
        known = None if share is None else share.known(index)
        totals = LayerTotals(block, probes)
        device = layer.device
        with Back(device) as back, torch.no_grad():
            for part, (entering,) in onto(device, state.parts(data), hidden):
                residual, x = layer(entering)
                assert x is not None
                if known is None:
                    totals.update(part, x, counted[part])
                back.put(leaving, part, residual + block(x))
                progress.update(1)
        layer.check()  # before other ranks are given what it gave
        if known is not None:
            return known
        own = totals.result()
        return own if share is None else share.together(index, own)

    return moe_layer


def read_probes(folder: Path, index: int) -> Tensor:
    """The probe inputs [S, H] of one layer and source."""
    with safe_open(layer_file(folder, index), framework="pt") as file:
        tensor: Tensor = file.get_tensor("probes")
    return tensor


def mixed_probes(folders: dict[str, Path], ratios: dict[str, float], probes: int, index: int) -> Tensor:
    """The first round(r_s · S) probes of each source, one after the other (docs/method.md, "Mixing").

    Args:
        folders: statistics of each source.
        ratios: of the sources, summing to 1.
        probes: S.
        index: of the layer.
    """
    return torch.cat(
        [read_probes(folders[source], index)[: round(ratio * probes)] for source, ratio in ratios.items() if ratio > 0]
    )
