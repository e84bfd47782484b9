"""What a compression is asked to do, as far as its cost and its memory depend on it."""

from dataclasses import dataclass

import torch

from ream.compress.refit_layer import held_out_sequences


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
