"""Choosing neurons, against brute force, loops and cases worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.experts import Expert, neuron_activations, parts
from ream.core.refit.neuron_choice import DAMPING, RIDGE, assembled, chosen_neurons, mean_rows, ridge_of
from ream.core.refit.neuron_sums import NeuronSums
from tests.core.layers import random_expert, silu_unit


def without_target(matrix):
    """The sums of a group whose tokens have these activations."""
    return NeuronSums(torch.from_numpy(matrix.T @ matrix), None, float(len(matrix)))


def damped(matrix):
    mean = (matrix**2).sum(0).mean()
    return np.concatenate([matrix, np.sqrt(DAMPING * mean) * np.eye(matrix.shape[1])])


def cost(matrix, down, kept):
    """Squared error of the best down projection of some neurons in place of all, damped: brute force."""
    both = damped(matrix)
    wanted = both @ down.T
    return ((wanted - both[:, kept] @ np.linalg.lstsq(both[:, kept], wanted, rcond=None)[0]) ** 2).sum()


def eliminated(matrix, down, keep):
    kept = list(range(matrix.shape[1]))
    while len(kept) > keep:
        kept.remove(min(kept, key=lambda n: cost(matrix, down, [other for other in kept if other != n])))
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_elimination_removes_the_neuron_that_least_squares_misses_least(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(40, 12)) @ (np.eye(12) + 0.5 * rng.normal(size=(12, 12)))
    down = rng.normal(size=(5, 12)) * rng.uniform(0.2, 3, size=12)
    chosen = chosen_neurons(without_target(matrix), torch.from_numpy(down), 6)
    assert chosen.tolist() == eliminated(matrix, down, 6)


@pytest.mark.parametrize("seed", range(4))
def test_with_a_target_neurons_count_by_what_they_do_for_it(seed):
    """Elimination begins with the down projection that fits the target best, drawn to the members' own."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(40, 12)) @ (np.eye(12) + 0.5 * rng.normal(size=(12, 12)))
    down = rng.normal(size=(5, 12)) * rng.uniform(0.2, 3, size=12)
    target = matrix @ rng.normal(size=(12, 5)) + 0.3 * rng.normal(size=(40, 5))  # of which the members know nothing
    error, ridge = target - matrix @ down.T, 0.05
    sums = NeuronSums(torch.from_numpy(matrix.T @ matrix), torch.from_numpy(error.T @ matrix), 40.0)
    strength = (ridge + DAMPING) * (matrix**2).sum(0).mean()
    both = np.concatenate([matrix, np.sqrt(strength) * np.eye(12)])
    change = np.linalg.lstsq(both, np.concatenate([error, np.zeros((12, 5))]), rcond=None)[0]
    chosen = chosen_neurons(sums, torch.from_numpy(down), 6, ridge)
    assert chosen.tolist() == eliminated(matrix, down + change.T, 6)
    assert chosen.tolist() != eliminated(matrix, down, 6)


def test_a_target_that_is_reached_changes_nothing(rng):
    matrix, down = rng.normal(size=(30, 8)), rng.normal(size=(4, 8))
    sums = without_target(matrix)
    reached = replace(sums, products=torch.zeros(4, 8, dtype=torch.float64))
    for keep in (2, 4, 6):
        alone = chosen_neurons(sums, torch.from_numpy(down), keep)
        assert chosen_neurons(reached, torch.from_numpy(down), keep, 0.1).tolist() == alone.tolist()


def test_all_groups_are_drawn_to_their_members_by_as_many_tokens():
    def group(count):
        return NeuronSums(torch.eye(2, dtype=torch.float64), None, count)

    counts = [30.0, 10.0, 0.0]
    assert [ridge_of(group(count), counts) for count in counts] == pytest.approx([RIDGE * 20 / 30, RIDGE * 2, 0.0])


def test_one_of_two_equal_neurons_goes_though_both_matter_most():
    # Neurons 0 and 1 are the same and do most; without one of them nothing is lost. 3 does least of the others.
    matrix = np.array([[3.0, 3.0, 1.0, 0.0], [3.0, 3.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.5], [2.0, 2.0, 1.0, 0.0]])
    gram, down = without_target(matrix), torch.ones(2, 4, dtype=torch.float64)
    assert chosen_neurons(gram, down, 3).tolist() in ([0, 2, 3], [1, 2, 3])
    assert chosen_neurons(gram, down, 2).tolist() in ([0, 2], [1, 2])


def test_a_group_without_tokens_keeps_the_first_experts_neurons():
    sums = without_target(np.zeros((4, 6)))
    for given in (sums, replace(sums, products=torch.zeros(2, 6, dtype=torch.float64))):
        assert chosen_neurons(given, torch.ones(2, 6), 3).tolist() == [0, 1, 2]


def test_the_assembled_experts_neurons_do_what_they_did(rng):
    members = [random_expert(rng) for _ in range(3)]
    neurons = np.array([1, 4, 5, 12, 14])  # of five each: 1 and 4 of the first, 0 of the second, 2 and 4 of the third
    whole = assembled(iter(members), [0.2, 0.3, 0.5], neurons)
    x = torch.from_numpy(rng.normal(size=(6, members[0].gate.shape[1]))).to(members[0].gate.dtype)
    hidden = neuron_activations(x, whole, silu_unit)
    for place, (member, neuron) in enumerate([(0, 1), (0, 4), (1, 0), (2, 2), (2, 4)]):
        before = neuron_activations(x, members[member], silu_unit)[:, neuron]
        torch.testing.assert_close(hidden[:, place], before)
        assert torch.equal(whole.down[:, place], members[member].down[:, neuron])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_biases_go_with_their_neurons_and_other_tensors_are_weighted_means(rng, dtype):
    def one(start):
        values = torch.arange(start, start + 12.0).reshape(2, 6).to(dtype)
        biases = {"gate_bias": values[:, 0], "up_bias": values[:, 1], "down_bias": values[0, :3]}
        return Expert(values[:, :3], values[:, 3:], values[:, :3].T, **biases, input_gate=values[1, :3])

    whole = assembled([one(0), one(100)], [0.25, 0.75], np.array([1, 2]))
    assert {tensor.dtype for _, tensor in parts(whole)} == {dtype}
    assert whole.gate_bias.tolist() == [6.0, 100.0]
    assert whole.up_bias.tolist() == [7.0, float(torch.tensor(101.0, dtype=dtype))]
    assert whole.down_bias.tolist() == pytest.approx([75.0, 76.0, 77.0], abs=0.5 if dtype == torch.bfloat16 else 1e-4)
    assert whole.input_gate.tolist() == pytest.approx([81.0, 82.0, 83.0], abs=0.5 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.25, 0.25]])
def test_another_number_of_weights_than_members_is_refused(rng, weights):
    with pytest.raises(ValueError, match="zip"):
        assembled([random_expert(rng) for _ in range(2)], weights, np.arange(5))


@pytest.mark.parametrize("axis", [0, 1])
def test_router_rows_are_weighted_means_over_the_members(axis):
    rows = torch.tensor([[1.0, 2.0], [3.0, 6.0], [0.1, 5.0], [7.0, 8.0]])
    tensor, weights = rows if axis == 0 else rows.T, np.array([0.25, 0.75, 1.0, 0.0])
    means = mean_rows(tensor, axis, [np.array([0, 1]), np.array([2])], weights)
    wanted = torch.tensor([[2.5, 5.0], [0.1, 5.0]])  # 1/4 · 1 + 3/4 · 3, 1/4 · 2 + 3/4 · 6
    assert torch.equal(means, wanted if axis == 0 else wanted.T)
    assert mean_rows(rows[:, 0].bfloat16(), 0, [np.array([0, 3])], weights).dtype == torch.bfloat16
