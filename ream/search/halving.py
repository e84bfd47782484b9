"""Successive halving with several objectives: who of a batch goes on to more sequences.

Jamieson and Talwalkar, arXiv 1502.07943, with non-dominated sorting in place of one value (Deb et al., NSGA-II, 2002).
Values on few sequences are compared with values on as many sequences alone, and these are the same for all mixes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ream.analysis.numbers.dominated import contributions
from ream.analysis.numbers.pareto import front


def rung_sizes(sequences: int, rungs: int) -> list[int]:
    """Sequences of each source after each round, doubling up to all of them; fewer rounds where there are too few."""
    sizes = [max(1, -(-sequences // 2 ** (rungs - 1 - rung))) for rung in range(rungs)]
    return sorted(set(sizes))


def layers_of_fronts(values: Float64[np.ndarray, "n m"]) -> Int64[np.ndarray, " n"]:
    """The front that each point is on: 0 for those that nothing dominates, 1 for those that only these do, and so on.

    Args:
        values: [n, m] to be minimised.
    """
    layer = np.full(len(values), -1, dtype=np.int64)
    number = 0
    while (left := np.flatnonzero(layer < 0)).size:
        layer[left[front(-values[left])]] = number
        number += 1
    return layer


def going_on(
    values: Float64[np.ndarray, "n m"], others: Float64[np.ndarray, "k m"], count: int
) -> Bool[np.ndarray, " n"]:
    """Which of the points of a batch go on.

    The best fronts go on, counted among the batch and all others. Of the front that only some can be taken of, those
    that add most volume go on; then ties go to the earlier.

    Args:
        values: [n, m] of the batch, to be minimised.
        others: [k, m] of earlier points, on as many sequences.
        count: points of the batch that go on.
    """
    together = np.concatenate([values, others])
    layer = layers_of_fronts(together)[: len(values)]
    going = np.zeros(len(values), dtype=bool)
    for number in np.unique(layer):
        members, room = np.flatnonzero(layer == number), count - int(going.sum())
        if len(members) > room:
            reference = -(together.max(axis=0) + 1e-9)
            order = contributions(-values[members], reference, room)
            members = np.array([*members[order], *np.delete(members, order)], dtype=np.int64)[:room]
        going[members] = True
        if going.sum() == count:
            break
    return going


def to_all_sequences(
    values: Float64[np.ndarray, " m"],
    few: Sequence[Float64[np.ndarray, " m"]],
    all_: Sequence[Float64[np.ndarray, " m"]],
) -> Float64[np.ndarray, " m"]:
    """What a mix that was stopped early would measure on all sequences.

    value + mean over the others of (on all sequences − on as few): the sequences are the same for all mixes, so how
    much harder they are on the whole is known from the mixes that were measured on all.

    Args:
        values: [m] on few sequences.
        few: of other mixes on the same few sequences.
        all_: of the same other mixes on all sequences.
    """
    if not few:
        return values
    estimate: np.ndarray = values + np.mean(np.asarray(all_) - np.asarray(few), axis=0)
    return estimate
