"""Which calibration sequences are held out: the evidence by which a refit is judged, and something may be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ream.core.composition import HELD_OUT_SHARE, Composition
from ream.errors import UserError

HELD_OUT = 16  # one of this many sequences is held out where nothing is chosen


@dataclass(frozen=True)
class HeldOutSequences:
    """The held-out sequences.

    Attributes:
        held: [n], True for a held-out sequence.
        source: [n], the number of each sequence's source.
        sources: S, the number of sources.
        first: place of the first of them among all sequences; 0 where a single process has all.
        of_all: [N], True for a held-out sequence, of all ranks; None where a single process has all.
    """

    held: Tensor
    source: Tensor
    sources: int
    first: int = 0
    of_all: Tensor | None = None

    def rows(self, rows: slice) -> "HeldOutSequences":
        """Those of one rank."""
        return HeldOutSequences(self.held[rows], self.source[rows], self.sources, rows.start, self.held)

    def fitted(self) -> Tensor:
        """Places of the sequences that are not held out, among all sequences, of all ranks."""
        return (~(self.held if self.of_all is None else self.of_all)).nonzero()[:, 0]


def held_out_of(method: Composition, sources: Sequence[str], seed: int) -> HeldOutSequences:
    """The held-out sequences of a method.

    Args:
        method: the composition; its refit may say how many to hold out.
        sources: of each calibration sequence, the name of its source.
        seed: of the calibration text.

    Raises:
        UserError: a source has too few sequences (`held_out_count`).
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(sources))}
    source = torch.tensor([numbers[name] for name in sources], dtype=torch.int64)
    share = held_out_share(method)
    if share is None:
        return HeldOutSequences(held_out_mask(len(sources)), source, len(numbers))
    held = torch.zeros(len(sources), dtype=torch.bool)
    for name, number in numbers.items():
        members = (source == number).nonzero()[:, 0]
        order = np.random.default_rng([seed, number]).permutation(len(members))
        held[members[torch.from_numpy(order[: held_out_count(name, len(members), share)])]] = True
    return HeldOutSequences(held, source, len(numbers))


def held_out_share(method: Composition) -> float | None:
    """The fraction of each source's sequences that a method holds out of everything; None: the refit alone does."""
    if method.refit is None:
        return None
    if method.refit.holdout is not None:
        return method.refit.holdout
    return HELD_OUT_SHARE if method.chooses else None


def held_out_count(source: str, sequences: int, share: float) -> int:
    """The number of held-out sequences of a source: the share, rounded, at least one, and at least one is left.

    Args:
        source: its name, for the error.
        sequences: of the source.
        share: to hold out.

    Raises:
        UserError: the source has one sequence.
    """
    if sequences < 2:
        raise UserError(
            f"source '{source}' has {sequences} calibration sequence, but the method holds out one of each source to "
            "choose by, and needs another to compress with; raise calibration.sequences, or leave the source out of "
            "the mix"
        )
    return min(sequences - 1, max(1, round(share * sequences)))


def held_out_total(method: Composition, shares: Mapping[str, int]) -> int | None:
    """The number of sequences that a method holds out of everything, of all sources; None: see `held_out_share`.

    Args:
        method: the composition.
        shares: sequences of each source; a source without any is not in the mix.

    Raises:
        UserError: a source has too few.
    """
    share = held_out_share(method)
    if share is None:
        return None
    return sum(held_out_count(source, count, share) for source, count in shares.items() if count)


def held_out_sequences(sequences: int) -> int:
    """The number of held-out sequences where nothing is chosen."""
    return max(1, sequences // HELD_OUT) if sequences > 1 else 0


def held_out_mask(sequences: int) -> Tensor:
    """Marks the held-out sequences where nothing is chosen, [n]: one in HELD_OUT, evenly spread.

    At least one of two or more sequences is held out.
    """
    mask = torch.zeros(sequences, dtype=torch.bool)
    count = held_out_sequences(sequences)
    for number in range(count):
        mask[(2 * number + 1) * sequences // (2 * count)] = True
    return mask
