"""A context and all its continuations as one row of a batch (`ream.evaluation.shared_context`)."""

from collections.abc import Iterator, Sequence

import torch


class ContextRow:
    """A context and its continuations as one sequence.

    The last token of a continuation is left out, because no token of the continuation follows it.

    Attributes:
        context: token ids of the context.
        continuations: token ids of each continuation.
        members: for each continuation the index of its request.
        tokens: token ids of the sequence, L in number.
        positions: position of each token; those of a continuation start after the context.
        owner: for each token the number of its continuation; -1 for the context.
    """

    def __init__(self, context: list[int], continuations: list[list[int]], members: list[int]) -> None:
        self.context, self.continuations, self.members = context, continuations, members
        self.tokens, self.positions = list(context), list(range(len(context)))
        self.owner = [-1] * len(context)
        for number, continuation in enumerate(continuations):
            self.tokens += continuation[:-1]
            self.positions += range(len(context), len(context) + len(continuation) - 1)
            self.owner += [number] * (len(continuation) - 1)

    def mask(self) -> torch.Tensor:
        """[L, L] bool, True if a query (row) sees a key (column): no later one, of the context or its continuation."""
        owner = torch.tensor(self.owner)
        return ((owner[None, :] == -1) | (owner[:, None] == owner[None, :])).tril()

    def parts(self) -> Iterator[tuple[list[int], list[int]]]:
        """For each continuation its tokens, after the positions that predict them, counted from the context's last."""
        start = 1
        for continuation in self.continuations:
            yield [0, *range(start, start + len(continuation) - 1)], continuation
            start += len(continuation) - 1


def batches_of(rows: Sequence[ContextRow], requests: int) -> Iterator[list[ContextRow]]:
    """Rows in batches of at most ``requests`` continuations, but at least one row."""
    batch: list[ContextRow] = []
    for row in rows:
        if batch and sum(len(other.members) for other in [*batch, row]) > requests:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
