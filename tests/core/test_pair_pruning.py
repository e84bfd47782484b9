"""HOPE's set against enumeration, and its sums against loops."""

from itertools import combinations

import numpy as np
import pytest
import torch

from ream.core.grouping import Experts, grouped
from ream.core.pair_pruning import exchanged, least_together, pair_means, relaxed
from ream.core.statistics import LayerStatistics
from tests.core.layers import random_layer, silu_unit


def random_pairs(rng, count, missing=0.0):
    values = rng.gamma(0.5, size=(count, count))
    values[rng.random((count, count)) < missing] = 0.0
    return values + values.T + np.diag(rng.gamma(1.0, size=count))


def enumerated(pairs, dropped):
    return min(combinations(range(len(pairs)), dropped), key=lambda p: pairs[np.ix_(p, p)].sum())


@pytest.mark.parametrize(("count", "dropped"), [(8, 1), (8, 4), (10, 5), (12, 3), (12, 9)])
def test_the_set_is_nearly_always_the_best_of_all(rng, count, dropped):
    """Seven of eight random problems exactly, and never 10% worse than the best."""
    exact = 0
    for _ in range(8):
        pairs = random_pairs(rng, count, missing=0.3)
        mine, best = least_together(pairs, dropped), list(enumerated(pairs, dropped))
        assert len(set(mine.tolist())) == dropped == len(mine)
        reached, least = (pairs[np.ix_(members, members)].sum() for members in (mine, best))
        assert least <= reached <= 1.1 * least + 1e-12
        exact += reached <= least * (1 + 1e-9)
    assert exact >= 7


def test_it_is_a_set_and_no_ranking():
    # Alone, 0 and 1 cost least. Together they cost 2 + 2 · 10, so with two dropped it is 2 and 3 (6) that go.
    pairs = np.diag([1.0, 1.0, 3.0, 3.0])
    pairs[0, 1] = pairs[1, 0] = pairs[0, 2] = pairs[2, 0] = pairs[0, 3] = pairs[3, 0] = 10.0
    pairs[1, 2] = pairs[2, 1] = pairs[1, 3] = pairs[3, 1] = 10.0
    assert least_together(pairs, 1).tolist() == [0]
    assert least_together(pairs, 2).tolist() == [2, 3]
    groups = grouped("hope", Experts(np.zeros(4), pairs=pairs), 2, 1)
    assert groups.kept.tolist() == [0, 1]
    assert groups.group.tolist() == [0, 1, -1, -1]


def test_no_exchange_helps_and_none_or_all_is_trivial(rng):
    pairs = random_pairs(rng, 16)
    members = exchanged(pairs, np.arange(6))
    value = pairs[np.ix_(members, members)].sum()
    for leave in range(6):
        for enter in set(range(16)) - set(members.tolist()):
            other = np.append(np.delete(members, leave), enter)
            assert pairs[np.ix_(other, other)].sum() >= value * (1 - 1e-9)
    assert least_together(pairs, 0).tolist() == []
    assert least_together(pairs, 16).tolist() == list(range(16))


def test_the_relaxation_lies_on_the_simplex_and_below_every_set(rng):
    """A convex problem, whose minimum over the simplex bounds the one over sets."""
    factor = rng.normal(size=(9, 9))
    pairs = factor @ factor.T
    found = relaxed(pairs, 4)
    assert found.sum() == pytest.approx(4.0, abs=1e-6)
    assert -1e-9 <= found.min() <= found.max() <= 1 + 1e-9
    best = list(enumerated(pairs, 4))
    assert found @ pairs @ found <= pairs[np.ix_(best, best)].sum() + 1e-6


def test_router_groups_are_pruned_one_by_one(rng):
    pairs = random_pairs(rng, 8)
    groups = grouped("hope", Experts(np.zeros(8), pairs=pairs), 4, 1, router_groups=2)
    for start in (0, 4):
        dropped = [expert for expert in range(start, start + 4) if expert not in groups.kept]
        assert dropped == [start + member for member in enumerated(pairs[start : start + 4, start : start + 4], 2)]


def test_pair_means_are_those_of_loops_and_add_up(rng):
    layer = random_layer(rng, tokens=50, never=(2,))
    parts = []
    for start in (0, 20):
        tokens = torch.arange(start, 20 if not start else 50)
        statistics = LayerStatistics(layer.experts, silu_unit, frozenset({"norms", "pair-norms"}))
        statistics.update(layer.x[tokens], layer.routing.take(tokens))
        parts.append(statistics.result())
    whole = parts[0] + parts[1]
    count = len(layer.experts)
    sums, counts = np.zeros((count, count)), np.zeros((count, count))
    for t in range(50):
        one = LayerStatistics(layer.experts, silu_unit, frozenset({"norms"}))
        one.update(layer.x[[t]], layer.routing.take(torch.tensor([t])))
        given = one.result().weighted_norm_sum  # of one token: a_j
        chosen = layer.routing.indices[t].tolist()
        for i in chosen:
            for j in chosen:
                sums[i, j] += given[i] * given[j]
                counts[i, j] += 1
    np.testing.assert_allclose(whole.pair_count, counts)
    np.testing.assert_allclose(pair_means(whole), np.where(counts > 0, sums / np.maximum(counts, 1), 0), rtol=1e-5)
    assert not pair_means(whole)[2].any()
    np.testing.assert_allclose(pair_means(whole.scaled(0.25)), pair_means(whole))
    with pytest.raises(ValueError, match="sums of pairs"):
        pair_means(one.result())
