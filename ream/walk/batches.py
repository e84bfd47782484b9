"""The calibration tokens of a walk and how they are cut into micro-batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.family.limits import Limits


@dataclass(frozen=True)
class Batches:
    """All sequences of a walk and how they are cut into micro-batches.

    Iterating gives the rows of one micro-batch after the other, as slices.

    Attributes:
        ids: [n, L] token ids, right-padded.
        mask: [n, L], True for real tokens.
        rows: number of sequences in a micro-batch.
    """

    ids: Tensor
    mask: Tensor
    rows: int

    def __iter__(self) -> Iterator[slice]:
        return (slice(start, start + self.rows) for start in range(0, len(self.ids), self.rows))

    def __len__(self) -> int:
        """The number of micro-batches."""
        return -(-len(self.ids) // self.rows)

    def shard(self, number: int, shards: int) -> slice:
        """The rows of one of several shards of about equal size.

        A shard consists of whole micro-batches, so each micro-batch's sums are the same in every split.

        Args:
            number: index of the shard, from 0.
            shards: number of shards, at most the number of micro-batches.

        Raises:
            UserError: there are fewer micro-batches than shards.
        """
        if not 0 <= number < shards <= len(self):
            raise UserError(
                f"shard {number} of {shards}: shards are numbered from 0, and there can be at most {len(self)}, one "
                "per micro-batch; lower compute.batch_tokens to get more micro-batches"
            )
        first, last = number * len(self) // shards, (number + 1) * len(self) // shards
        return slice(first * self.rows, min(last * self.rows, len(self.ids)))

    def part(self, rows: slice) -> "Batches":
        """These sequences alone, in micro-batches of the same size."""
        return Batches(self.ids[rows], self.mask[rows], self.rows)


@dataclass(frozen=True)
class SequenceBatches:
    """Batches of so many consecutive sequences, over which means of batch means are taken (docs/method.md).

    They are counted over all sequences of a source or mix, whatever shard, rank or micro-batch sees a sequence. A
    micro-batch may have sequences of several batches, and a batch may be in several micro-batches.

    Attributes:
        size: sequences in a batch; the last one may have fewer.
        sequences: n, of all shards and ranks.
        first: index among them of the first sequence that the walk sees.
    """

    size: int
    sequences: int
    first: int = 0

    def __len__(self) -> int:
        """G, the number of batches."""
        return -(-self.sequences // self.size)

    def of_tokens(self, start: int, rows: int, length: int) -> Tensor:
        """The batch of each token of a micro-batch, [rows · length] int64.

        Args:
            start: index of the micro-batch's first sequence among those of the walk.
            rows: number of its sequences.
            length: L, with padding.
        """
        sequence = torch.arange(self.first + start, self.first + start + rows)
        return (sequence // self.size).repeat_interleave(length)


def batches(ids: np.ndarray, mask: np.ndarray, batch_tokens: int) -> Batches:
    """Micro-batches of at most ``batch_tokens`` tokens, padding included, and of at least one sequence.

    Args:
        ids: [n, L] token ids, right-padded.
        mask: [n, L], True for real tokens.
        batch_tokens: upper bound on the tokens of a micro-batch.
    """
    return Batches(torch.from_numpy(ids), torch.from_numpy(mask), max(1, batch_tokens // ids.shape[1]))


def check_inputs(ids: np.ndarray, mask: np.ndarray, limits: Limits, multi_token: int = 0) -> None:
    """Refuse sequences that a model cannot read, or that leave one of its layers without a token.

    Args:
        ids: [n, L] token ids, right-padded.
        mask: [n, L], True for real tokens.
        limits: of the model's inputs.
        multi_token: number of layers that predict further tokens. The last of them counts the tokens that have a
            successor so many tokens later.

    Raises:
        UserError: names the largest id and the size of the vocabulary, the longest sequence and the model's positions,
            or the layers that would see no token.
    """
    if ids.size and int(ids.max()) >= limits.vocabulary:
        raise UserError(
            f"calibration token {int(ids.max())} is outside the model's vocabulary of {limits.vocabulary}; "
            "tokenize with the model's own tokenizer"
        )
    longest = int(mask.sum(axis=1).max(initial=0))
    if limits.positions is not None and longest > limits.positions:
        raise UserError(
            f"a calibration sequence has {longest} tokens, more than the model's {limits.positions} positions "
            "(max_position_embeddings in its config.json); use shorter sequences"
        )
    if longest <= multi_token:
        raise UserError(
            f"the longest calibration sequence has {longest} tokens, but the last layer that predicts further tokens "
            f"sees none in sequences of at most {multi_token}; use longer sequences, or model.multi_token: drop"
        )


def with_successor(mask: Tensor, distance: int) -> Tensor:
    """Marks the real tokens that have a real token ``distance`` positions later.

    A multi-token layer predicts that later token, so its statistics count only these.

    Args:
        mask: [n, L], True for real tokens, right-padded.
        distance: 1 for the first multi-token layer.
    """
    marked = torch.zeros_like(mask)
    marked[:, :-distance] = mask[:, distance:]
    return marked
