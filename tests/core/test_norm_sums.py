"""Sums of routed norms: those in batches, and squares, however the tokens are divided."""

import numpy as np
import pytest
import torch

from ream.core.norm_sums import NormSums
from ream.core.pairs import routed_pairs
from ream.core.saliency import released_batches
from ream.core.statistics import LayerStatistics
from ream.core.sums import settled
from tests.core import reference
from tests.core.layers import random_layer, silu_unit

NEEDS = frozenset({"norms", "squared-norms", "batch-norms"})
LENGTH = 4  # tokens of a sequence, padding included


def test_one_pair_by_hand():
    # One token in batch 1, two experts with softmax 3/4 and 1/4, the first selected with ‖E‖ = 4: 9/16 · 4 = 2.25.
    sums = NormSums(2, NEEDS, 3, torch.device("cpu"))
    pairs = routed_pairs(torch.tensor([[0]]), 2, 1)
    logits = torch.tensor([[np.log(3.0), 0.0]], dtype=torch.float32)
    sums.add(pairs, torch.tensor([4.0]).double(), torch.tensor([0.5]), logits, torch.tensor([1]))
    arrays = sums.arrays()
    assert arrays["norm_sum"].tolist() == [4.0, 0.0]
    assert arrays["weighted_norm_sum"].tolist() == [2.0, 0.0]
    assert arrays["squared_norm_sum"].tolist() == [16.0, 0.0]
    np.testing.assert_allclose(arrays["released_norm_sum"], [2.25, 0.0], rtol=1e-6)
    assert arrays["batch_count"].tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(arrays["batch_norm_sum"], [[0.0, 0.0], [2.25, 0.0], [0.0, 0.0]], rtol=1e-6)


def test_what_is_not_needed_is_absent_or_unknown():
    assert np.isnan(NormSums(2, frozenset(), 3, torch.device("cpu")).arrays()["norm_sum"]).all()
    alone = NormSums(2, frozenset({"norms"}), 3, torch.device("cpu")).arrays()
    assert set(alone) == {"norm_sum", "weighted_norm_sum", "released_norm_sum"}


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_means_of_batch_means_are_those_of_loops_however_micro_batches_fall(rng, size, rows):
    count = 7
    layer = random_layer(rng, tokens=count * LENGTH, never=(3,))
    mask = torch.arange(count * LENGTH) % LENGTH < torch.from_numpy(rng.integers(1, 5, count)).repeat_interleave(LENGTH)
    batch = torch.arange(count).div(size, rounding_mode="floor").repeat_interleave(LENGTH)
    parts = []
    for start in range(0, count, rows):
        tokens = torch.arange(start * LENGTH, min(count, start + rows) * LENGTH)
        statistics = LayerStatistics(layer.experts, silu_unit, NEEDS, batches=-(-count // size))
        statistics.update(layer.x[tokens], layer.routing.take(tokens), mask[tokens], batch=batch[tokens])
        parts.append(statistics.result())
    total = parts[0]
    for part in parts[1:]:  # as shards and ranks add up
        total = total + part
    sequences = [
        reference.statistics(**layer.take(tokens[mask[tokens]]).reference_inputs())
        for tokens in torch.arange(count * LENGTH).split(LENGTH)
    ]
    expected = reference.released_batches(sequences, size)
    np.testing.assert_allclose(released_batches(settled(total)), expected, rtol=1e-5)
    assert expected[3] == 0.0
    if size < count:  # a mean over tokens would be another number
        whole = reference.released_batches(sequences, count)
        assert np.abs(np.array(expected) - whole).max() > 1e-3 * max(whole)
