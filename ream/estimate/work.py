"""The sizes and choices of a compression on which its cost and its memory depend."""

from dataclasses import dataclass

import torch

from ream.compress.held_out import held_out_sequences
from ream.core.composition import ALL_QUANTITIES, OUTPUT_MEANS, Quantity


@dataclass(frozen=True)
class Work:
    """What a compression is asked to do.

    Attributes:
        experts: K, experts kept in every layer.
        group_size: C, the most experts that one expert absorbs; None: no bound.
        sequential: whether each layer is compressed on the hidden states that the compressed layers before it produce.
        merges: whether absorbed experts are merged; otherwise they are removed.
        terms: of the alignment's cost: ``activations``, ``weights``, ``weights-pca``.
        sequences: calibration sequences of a pass over the model, the longest if they differ.
        tokens: of each sequence.
        passes: one for each source of a one-shot method; they go through the model together.
        probes: S, probe tokens of the alignment and the similarities.
        batch_tokens: upper bound of a micro-batch.
        hidden_memory: bytes up to which hidden states are kept in memory.
        device: to compute on.
        dtype: to compute in.
        unquantised: whether a quantised original is written in bfloat16.
        refit: the target of the refit, ``layer`` or ``global``; None without a refit.
        sweeps: of the refit, at most.
        iterations: of the fit of all projections after the refit, at most; 0 without one.
        chooses: how many of the candidates choose neurons instead of averaging them.
        candidates: tried in every layer, to choose one by its error on held-out sequences; 0: nothing is chosen.
        ridges: whether the ridge of each is chosen, too.
        router: whether the router's rows are fitted, too.
        held_out: calibration sequences that are held out; None: one in 16.
        total: calibration sequences of all passes together; None where every pass has ``sequences``.
        needs: what the statistics consist of beside counts.
        batches: batches of sequences, over all passes, whose sums are kept for means of batch means.
        sampled: tokens, over all passes and at most, on which all experts are computed for means of outputs; None: all.
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
    chooses: int = 0
    candidates: int = 0
    ridges: bool = False
    router: bool = False
    held_out: int | None = None
    total: int | None = None
    needs: frozenset[Quantity] = ALL_QUANTITIES
    batches: int = 0
    sampled: int | None = None

    @property
    def dense(self) -> bool:
        """Whether all experts are computed on all tokens for the statistics."""
        return bool(self.needs & OUTPUT_MEANS) and self.sampled is None

    @property
    def routed(self) -> bool:
        """Whether the statistics compute the experts that tokens are routed to, so that the layer need not."""
        return "norms" in self.needs and not self.dense

    @property
    def dense_tokens(self) -> int:
        """Tokens on which all experts are computed, over all passes."""
        if not self.needs & OUTPUT_MEANS:
            return 0
        return self.all_tokens if self.sampled is None else self.sampled

    @property
    def kept_inputs(self) -> int:
        """Tokens whose inputs are kept while a layer is measured: probes, of which a sample of outputs has more."""
        probes = min(self.probes, self.pass_tokens) * self.passes
        return max(probes, self.dense_tokens if self.sampled is not None else 0)

    @property
    def streams(self) -> int:
        """Copies of the tokens that go through attention: two where the original's own stream is needed, too."""
        return 2 if self.refit == "global" else 1

    @property
    def fitted_share(self) -> float:
        """Fraction of the sequences on which the refit and the choice of neurons are fitted."""
        held_out = held_out_sequences(self.sequences) if self.held_out is None else self.held_out
        return 1.0 - held_out / self.sequences

    @property
    def all_tokens(self) -> int:
        """Tokens that go through the model, over all passes."""
        return (self.passes * self.sequences if self.total is None else self.total) * self.tokens

    @property
    def pass_tokens(self) -> int:
        """Tokens of one pass."""
        return self.sequences * self.tokens

    @property
    def batch(self) -> int:
        """Tokens of a micro-batch: whole sequences, at least one and at most all (`walk.batches`)."""
        return min(max(1, self.batch_tokens // self.tokens), self.sequences) * self.tokens

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in the dtype of the computation."""
        return self.dtype.itemsize
