"""One-shot statistics: all layers of the original model are measured, for each calibration source by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor

from ream.compress.precision import TOLERANCE, source_error
from ream.compress.totals import LayerTotals
from ream.core.composition import ALL_QUANTITIES, Quantity
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.walk.batches import Batches
from ream.walk.layer_file import layer_file
from ream.walk.probes import Probes
from ream.walk.state import WalkState
from ream.walk.transfers import WriteBack, prefetched
from ream.walk.walk import LayerVisit, Pass, walk

if TYPE_CHECKING:  # only where torchrun has started several processes
    from ream.walk.share import Share


def collect(decoder: Decoder, data: Batches, probes: Probes, state: WalkState, progress: Progress) -> None:
    """Measure one source; arguments are those of `collect_all`."""
    collect_all(decoder, [(data, probes, state)], progress)


def collect_all(
    decoder: Decoder,
    sources: Sequence[tuple[Batches, Probes, WalkState]],
    progress: Progress,
    shares: "Sequence[Share] | None" = None,
    needs: frozenset[Quantity] = ALL_QUANTITIES,
) -> None:
    """Walk the original model once and leave each MoE layer's Sums and probe inputs in each source's state folder.

    Args:
        decoder: of the original model.
        sources: for each calibration source its tokens, its probes, and the state that takes the results.
        progress: told of every micro-batch that has gone through a layer.
        shares: where this process is one of several ranks, how each source's totals are put together from all ranks.
        needs: what is measured; see `LayerStatistics`.
    """
    source_shares: Sequence[Share | None] = shares or [None] * len(sources)
    passes = [
        Pass(data, state, StatisticsCollector(data, probes, state, progress, share, needs))
        for (data, probes, state), share in zip(sources, source_shares, strict=True)
    ]
    walk(decoder, passes, progress)


@dataclass(frozen=True)
class StatisticsCollector:
    """Measures each MoE layer that the walk visits (a `LayerMethod`); the layer itself stays as it is.

    Attributes:
        data: the tokens of a source.
        probes: its probe tokens.
        state: of its walk.
        progress: told of every micro-batch.
        share: how the totals of all ranks are put together; None for a single process.
        needs: what is measured; see `LayerStatistics`. Where no dense pass is needed, the outputs of routed experts
            serve both the norms and the layer itself.
    """

    data: Batches
    probes: Probes
    state: WalkState
    progress: Progress
    share: "Share | None" = None
    needs: frozenset[Quantity] = ALL_QUANTITIES

    def __call__(self, visit: LayerVisit) -> dict[str, Tensor]:
        """Take all tokens through a layer; returns its Sums and probe inputs by name."""
        known = None if self.share is None else self.share.known(visit.index)
        totals = LayerTotals(visit.block, self.probes, needs=self.needs)
        device = visit.layer.device
        with WriteBack(device) as write_back, torch.no_grad():
            for part, (entering,) in prefetched(device, self.state.parts(self.data), visit.entering):
                residual, x = visit.layer(entering)
                assert x is not None
                routed = None if known is not None else totals.update(part, x, visit.counted[part], combine=True)
                write_back.put(visit.leaving, part, visit.layer.leaving(residual, visit.block(x, routed)))
                self.progress.update(1)
        visit.layer.check()  # before other ranks are given what it gave
        if known is not None:
            return known
        measured = totals.result(lambda sums: source_error(self.needs, sums) <= TOLERANCE)
        return measured if self.share is None else self.share.together(visit.index, measured)


def read_probes(folder: Path, index: int) -> Tensor:
    """The probe inputs [S, H] of one layer and source.

    Args:
        folder: the source's statistics.
        index: of the layer.
    """
    with safe_open(layer_file(folder, index), framework="pt") as file:
        tensor: Tensor = file.get_tensor("probes")
    return tensor


def mixed_probes(folders: Mapping[str, Path], ratios: Mapping[str, float], probes: int, index: int) -> Tensor:
    """The probe inputs of a mix: the first round(r_s · S) of each source, one source after the other [~S, H].

    Source: docs/method.md, "Mixing".

    Args:
        folders: statistics of each source.
        ratios: r_s of each source, summing to 1.
        probes: S.
        index: of the layer.
    """
    return torch.cat(
        [read_probes(folders[source], index)[: round(ratio * probes)] for source, ratio in ratios.items() if ratio > 0]
    )
