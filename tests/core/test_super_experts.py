"""Super experts, by hand and from the statistics."""

import numpy as np
import pytest
import torch

from ream.core.experts import expert_outputs, neuron_activations
from ream.core.statistics import LayerStatistics
from ream.core.super_experts import POWER, peak_norms, protected, super_experts
from tests.core.layers import random_layer, silu_unit


def test_two_of_four_hundred_stand_out():
    # 400 peaks of about 1: above the 99.5th percentile are the two largest, of 50 and of 30; a third, of 4.9, is below
    # a tenth of the largest where it is 50.
    layers = {0: np.linspace(0.5, 1.5, 200), 3: np.linspace(0.5, 1.5, 200)}
    layers[0][17], layers[3][4] = 50.0, 30.0
    found = super_experts(layers)
    assert np.flatnonzero(found[0]).tolist() == [17]
    assert np.flatnonzero(found[3]).tolist() == [4]
    layers[3][4] = 4.9
    assert not super_experts(layers)[3].any()


def test_without_outliers_many_are_large_and_few_are_above_the_percentile():
    found = super_experts({0: np.linspace(1.0, 2.0, 400)})
    assert np.flatnonzero(found[0]).tolist() == [398, 399]


def test_they_are_ranked_before_all_others_in_their_order():
    lifted = protected(np.array([5.0, 0.1, 3.0, 0.2]), np.array([False, True, False, True]))
    assert np.argsort(-lifted).tolist() == [3, 1, 0, 2]


def test_peaks_are_about_the_largest_norms_and_add_up(rng):
    layer = random_layer(rng, tokens=300, never=(1,))
    needs = frozenset({"norms", "peak-norms"})
    parts = []
    for tokens in (torch.arange(100), torch.arange(100, 300)):
        statistics = LayerStatistics(layer.experts, silu_unit, needs)
        statistics.update(layer.x[tokens], layer.routing.take(tokens))
        parts.append(statistics.result())
    peaks = peak_norms(parts[0] + parts[1])
    for j in range(len(layer.experts)):
        rows = (layer.routing.indices == j).any(1)
        expert = layer.experts[j]
        norms = expert_outputs(neuron_activations(layer.x[rows], expert, silu_unit), expert).norm(dim=1)
        largest = float(norms.max()) if len(norms) else 0.0
        assert largest <= peaks[j] * (1 + 1e-5)
        assert peaks[j] <= largest * max(1, len(norms)) ** (1 / POWER) * (1 + 1e-5)
    unmeasured = LayerStatistics(layer.experts, silu_unit, frozenset({"norms"})).result()
    with pytest.raises(ValueError, match="powers of norms"):
        peak_norms(unmeasured)
