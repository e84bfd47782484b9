"""What a compression is asked to do, as far as its cost and its memory depend on it."""

from dataclasses import dataclass

import torch

from ream.compress.decide import absorbed_at_most
from ream.compress.refit_layer import held_out_sequences
from ream.params import Params


@dataclass(frozen=True)
class Work:
    """Sizes of a compression.

    Attributes:
        experts: K. group_size: the most experts that one absorbs, C as docs/method.md counts it; None: no bound.
        sequential: whether each layer is compressed on what the compressed ones before it make of the text.
        merges: whether absorbed experts are merged; else they go.
        terms: of the alignment.
        sequences: of a pass over the model. tokens: of each sequence. passes: one for each source of a
            one-shot method; they go through the model together.
        probes: S. batch_tokens: bound of a micro-batch.
        hidden_memory: bytes up to which hidden states are kept in memory.
        device: to compute on. dtype: to compute in.
        unquantised: write a quantised original in bfloat16.
        refit: the target of the refit, None without one. sweeps: of it, at most. iterations: of the fit of all
            projections after it, at most.
        chooses: whether neurons are chosen instead of averaged.
    """

    experts: int
    group_size: int | None
    sequential: bool
    merges: bool
    terms: tuple[str, ...]
    sequences: int
    tokens: int
    passes: int
    probes: int
    batch_tokens: int
    hidden_memory: float
    device: torch.device
    dtype: torch.dtype
    unquantised: bool = False
    refit: str | None = None
    sweeps: int = 0
    iterations: int = 0
    chooses: bool = False

    @property
    def streams(self) -> int:
        """Copies of the tokens that go through attention: two where the original's own stream is needed, too."""
        return 2 if self.refit == "global" else 1

    @property
    def fitted_share(self) -> float:
        """Of the sequences, those that the refit and the choice of neurons are made from."""
        return 1.0 - held_out_sequences(self.sequences) / self.sequences

    @property
    def all_tokens(self) -> int:
        """That go through the model, over all passes."""
        return self.passes * self.pass_tokens

    @property
    def pass_tokens(self) -> int:
        return self.sequences * self.tokens

    @property
    def batch(self) -> int:
        """Tokens of a micro-batch: whole sequences, at least one and at most all (`walk.batches`)."""
        return min(max(1, self.batch_tokens // self.tokens), self.sequences) * self.tokens

    @property
    def compute_bytes(self) -> int:
        return self.dtype.itemsize


def work_of(params: Params, mix: str, method: str, experts: int, device: torch.device, dtype: torch.dtype) -> Work:
    """The work of one cell of the graph.

    Args:
        params: all settings. mix, method: names. experts: K.
        device, dtype: that ``compute`` comes to on this machine (`decoder.runtime`).

    Raises:
        UserError: unknown names, or no group size for that number of experts.
    """
    composition, ratios = params.method(method), params.mix(mix)
    merges, bounded = composition.grouping != "pruning", composition.grouping == "pseudo-pruning"
    return Work(
        experts=experts,
        group_size=absorbed_at_most(composition, params.grouping.size_for(experts)) if bounded else None,
        sequential=composition.sequential,
        merges=merges,
        terms=tuple(composition.alignment),
        sequences=params.calibration.sequences,
        tokens=params.calibration.tokens,
        passes=1 if composition.sequential else sum(ratio > 0 for ratio in ratios.values()),
        probes=params.statistics.probes,
        batch_tokens=params.compute.batch_tokens,
        hidden_memory=params.compute.hidden_memory,
        device=device,
        dtype=dtype,
        unquantised=params.merge.dtype != "original",
        refit=composition.refit.target if composition.refit else None,
        sweeps=composition.refit.sweeps if composition.refit else 0,
        iterations=composition.refit.iterations if composition.refit else 0,
        chooses=composition.merging == "neurons",
    )
