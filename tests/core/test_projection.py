"""Neurons by the principal components of their weights, against the steps of REAM's released code."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from ream.core.alignment import align_groups
from ream.core.experts import Expert
from ream.core.projection import projected_neurons
from tests.core.layers import random_expert, silu_unit


def literally(experts, dimensions):
    """The steps in float32, one tensor after the other, with torch's own analysis: [N, D, Q]."""
    rows = torch.stack([torch.cat([gate, up, down.T], dim=1) for gate, up, down in experts])
    rows = rows / (rows.norm(dim=-1, keepdim=True) + 1e-8)
    flat = rows.reshape(-1, rows.shape[-1])
    flat = flat - flat.mean(dim=0, keepdim=True)
    torch.manual_seed(0)
    _, values, directions = torch.pca_lowrank(flat, q=dimensions)
    projected = (flat @ (directions * values)).reshape(len(experts), -1, dimensions)
    return projected / (projected.norm(dim=-1, keepdim=True) + 1e-8)


@pytest.mark.parametrize(("count", "hidden", "width"), [(6, 32, 40), (3, 100, 30)])
def test_projection_and_permutations_are_those_of_the_literal_steps(rng, count, hidden, width):
    experts = [random_expert(rng, hidden=hidden, width=width) for _ in range(count)]
    expected = literally([(expert.gate, expert.up, expert.down) for expert in experts], 64)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    projected = projected_neurons(count, experts.__getitem__)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers stay as they are
    torch.testing.assert_close(projected, expected, rtol=1e-4, atol=1e-5)
    permutations = align_groups({0: [1, 2]}, experts.__getitem__, ["weights-pca"], None, silu_unit, experts=count)
    for member, permutation in permutations.items():
        cost = torch.cdist(expected[0], expected[member]).numpy()
        assert permutation.tolist() == linear_sum_assignment(cost)[1].tolist()
    plain = align_groups({0: [1, 2]}, experts.__getitem__, ["weights"], None, silu_unit)
    assert any(not np.array_equal(plain[member], permutations[member]) for member in plain)


def test_a_shuffled_copy_is_recovered(rng):
    expert = random_expert(rng, hidden=8, width=16)
    shuffle = torch.from_numpy(rng.permutation(16))
    experts = [expert, expert.permuted(shuffle), random_expert(rng, hidden=8, width=16)]
    found = align_groups({0: [1]}, experts.__getitem__, ["weights-pca"], None, silu_unit, experts=3)
    assert found[1].tolist() == torch.argsort(shuffle).tolist()


def test_a_layer_with_fewer_features_has_as_many_components_as_there_are(rng):
    experts = [Expert(None, torch.randn(5, 3), torch.randn(3, 5)) for _ in range(4)]  # without a gate: 6 features
    projected = projected_neurons(4, experts.__getitem__)
    assert projected.shape == (4, 5, 6)
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(4, 5))


def test_groups_of_one_load_nothing():
    def refuse(number):
        raise AssertionError(number)

    assert align_groups({0: [], 1: []}, refuse, ["weights-pca"], None, silu_unit, experts=2) == {}
