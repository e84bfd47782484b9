"""The order in which the fit goes through a layer's tokens: shuffled runs, the same on any number of ranks.

Runs rather than single tokens, so that a mapped file is read in pieces and not a row at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RUN = 32  # tokens of a sequence that stay together
STEPS = 96  # of a pass, where there is enough text
BATCH = 2048  # least tokens of a step


@dataclass(frozen=True)
class Shuffle:
    """Shuffles of the fitted tokens.

    Attributes:
        sequences: places of the fitted sequences among all sequences, of all ranks.
        counted: [n, L], False for padding, of this rank's sequences.
        first: place of this rank's first sequence among all.
        tokens: fitted tokens of all ranks.
    """

    sequences: Tensor
    counted: Tensor
    first: int
    tokens: float

    @property
    def steps(self) -> int:
        """Batches of a pass."""
        return steps_of(self.tokens)

    def batches(self, number: int) -> Iterator[Tensor]:
        """The batches of a pass.

        Args:
            number: of the pass; every one has its own order.

        Yields:
            [T] the batch's tokens that this rank has, as places in [n · L].
        """
        own, length = self.counted.shape
        runs = -(-length // RUN)
        order = torch.randperm(len(self.sequences) * runs, generator=torch.Generator().manual_seed(number))
        counted = self.counted.flatten()
        for batch in order.tensor_split(self.steps):
            rows = self.sequences[batch // runs] - self.first
            start = batch % runs * RUN
            here = (rows >= 0) & (rows < own)
            positions = start[here][:, None] + torch.arange(RUN)
            places = (rows[here][:, None] * length + positions)[positions < length]
            yield places[counted[places]]


def steps_of(tokens: float) -> int:
    """Batches of a pass: 96, or fewer of at least about 2,048 tokens.

    Args:
        tokens: fitted ones of all ranks.
    """
    return max(1, min(STEPS, round(tokens / BATCH)))
