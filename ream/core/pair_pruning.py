"""HOPE: the set of experts to drop whose joint contribution is least (arXiv 2609.18916).

With a_j(x) = g_j(x) ‖E_j(x)‖ and F_ij the mean of a_i(x) a_j(x) over the tokens routed to both i and j (0 where
there are none), the dropped set p in {0, 1}^N of M experts minimises p^T F p. It is a set and no ranking: the best M
experts to drop need not be among the best M + 1.
"""

import numpy as np
from jaxtyping import Float64, Int64

from ream.core.sums import Sums

STEPS = 200  # of the relaxation, at most
SEEDS = 16  # experts from which a set is grown
GAIN = 1e-12  # of p^T F p, that an exchange has to gain at least


def pair_means(sums: Sums) -> Float64[np.ndarray, "N N"]:
    """F of a layer, symmetric.

    Raises:
        ValueError: the products were not measured.
    """
    if sums.pair_sum is None or sums.pair_count is None:
        raise ValueError("hope needs the sums of pairs of experts")
    zeros = np.zeros_like(sums.pair_sum)
    means: np.ndarray = np.divide(sums.pair_sum, sums.pair_count, out=zeros, where=sums.pair_count > 0)
    return means


def least_together(pairs: Float64[np.ndarray, "N N"], dropped: int) -> Int64[np.ndarray, " M"]:
    """The M experts with the least p^T F p, ascending: a local minimum that no exchange of two experts lowers.

    Several starts are improved by exchanges, and the best one counts, the first of equals: the largest entries of a
    minimum on the capped simplex {0 ≤ p ≤ 1, sum p = M} (`relaxed`), then sets that begin with one of the experts with
    the least F_jj and grow by the expert that adds least. The problem is NP-hard; on random matrices of 8 to 12 experts
    the exact minimum is found nearly always (the tests enumerate).

    Args:
        pairs: F.
        dropped: M, from 0 to N.
    """
    if dropped in (0, len(pairs)):
        return np.arange(dropped)
    start = np.argsort(-relaxed(pairs, dropped), kind="stable")[:dropped]
    seeds = np.argsort(pairs.diagonal(), kind="stable")[:SEEDS].tolist()
    sets = [exchanged(pairs, members) for members in (start, *(_grown(pairs, seed, dropped) for seed in seeds))]
    values = [float(pairs[np.ix_(members, members)].sum()) for members in sets]
    least = min(values) * (1 + GAIN)
    return next(members for members, value in zip(sets, values, strict=True) if value <= least)


def relaxed(pairs: Float64[np.ndarray, "N N"], dropped: int) -> Float64[np.ndarray, " N"]:
    """A local minimum of p^T F p over 0 ≤ p ≤ 1 with sum p = M, by scipy's SLSQP from the simplex's middle."""
    from scipy.optimize import minimize  # half a second, which other groupings need not wait for

    count, scale = len(pairs), float(np.abs(pairs).max()) or 1.0
    found = minimize(
        lambda p: float(p @ pairs @ p) / scale,
        np.full(count, dropped / count),
        jac=lambda p: 2.0 * (pairs @ p) / scale,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints=[{"type": "eq", "fun": lambda p: p.sum() - dropped, "jac": lambda p: np.ones(count)}],
        options={"maxiter": STEPS},
    )
    minimum: np.ndarray = found.x
    return minimum


def exchanged(pairs: Float64[np.ndarray, "N N"], members: Int64[np.ndarray, " M"]) -> Int64[np.ndarray, " M"]:
    """The set after exchanges, each the one that lowers p^T F p most, until none does; ascending.

    Ties go to the lower index among the members, then among the others.
    """
    inside = np.zeros(len(pairs), dtype=bool)
    inside[members] = True
    while True:
        given, value = pairs[:, inside].sum(axis=1), pairs[np.ix_(inside, inside)].sum()
        leave, enter = np.flatnonzero(inside), np.flatnonzero(~inside)
        diagonal = pairs.diagonal()
        lost = 2 * given[leave] - diagonal[leave]
        gained = 2 * given[enter] + diagonal[enter]
        change = gained[None, :] - lost[:, None] - 2 * pairs[np.ix_(leave, enter)]
        best = int(change.argmin())
        if change.flat[best] >= -GAIN * abs(value):
            return leave
        row, column = divmod(best, len(enter))
        inside[leave[row]], inside[enter[column]] = False, True


def _grown(pairs: Float64[np.ndarray, "N N"], seed: int, dropped: int) -> Int64[np.ndarray, " M"]:
    """The set that grows from one expert by the one that adds least to p^T F p; ties go to the lower index."""
    added, free, members = pairs.diagonal().astype(np.float64), np.ones(len(pairs), dtype=bool), [seed]
    while True:
        free[members[-1]] = False
        if len(members) == dropped:
            return np.array(members)
        added = added + 2 * pairs[:, members[-1]]
        members.append(int(np.where(free, added, np.inf).argmin()))
