"""The compressed model's stream of tokens and, behind it, the original's.

With a refit to the target ``global`` the original's hidden states are needed beside the compressed model's. The walk
then takes every sequence twice: rows 0 to n through the compressed layers, rows n to 2n through the original's.
"""

from collections.abc import Iterator

from ream.core.composition import Composition
from ream.walk.batches import Batches


def streams(data: Batches, composition: Composition) -> Batches:
    """The rows that a method takes through the layers: its sequences, twice where the original's stream is needed."""
    if composition.refit is None or composition.refit.target != "global":
        return data
    return Batches(data.ids.repeat(2, 1), data.mask.repeat(2, 1), data.rows)


def halves(part: slice, sequences: int, rows: int) -> Iterator[slice]:
    """A micro-batch, cut in two where the original's stream begins inside of it.

    Args:
        part: the micro-batch; its end may lie beyond the last row.
        sequences: n, rows of the compressed model's stream; those after them are the original's.
        rows: number of all rows.
    """
    stop = min(part.stop, rows)
    if part.start < sequences < stop:
        yield slice(part.start, sequences)
        yield slice(sequences, stop)
    else:
        yield slice(part.start, stop)
