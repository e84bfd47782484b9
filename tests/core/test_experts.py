import numpy as np
import torch
from torch.nn.functional import silu

from ream.core.experts import Expert, ExpertStack, neuron_activations
from tests.core import reference
from tests.core.layers import float64, plain, random_expert


def test_neuron_activations_by_hand():
    # x = (1, 2). Neuron 0: gate row (1, 0) gives 1, up row (0, 3) gives 6: relu(1) · 6 = 6.
    # Neuron 1: gate row (0, -1) gives -2, so relu gives 0, whatever the up row (5, 5) gives.
    # Gate and up swapped, neuron 0 would give relu(6) · 1 = 6 but neuron 1 relu(15) · -2 = -30.
    expert = Expert(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[0.0, 3.0], [5.0, 5.0]]), torch.ones(2, 2))
    activations = neuron_activations(torch.tensor([[1.0, 2.0]]), expert, torch.relu)
    assert activations.tolist() == [[6.0, 0.0]]


def test_neuron_activations_match_loops(rng):
    expert, x = random_expert(rng), torch.from_numpy(rng.normal(size=(7, 4))).float()
    gate, up, _ = plain(expert)
    expected = [reference.hidden(token, gate, up) for token in float64(x)]
    np.testing.assert_allclose(neuron_activations(x, expert, silu), expected, rtol=1e-5, atol=1e-6)


def test_stack_keeps_gate_rows_above_up_rows():
    gate_up = torch.arange(2 * 4 * 3).reshape(2, 4, 3).float()
    down = torch.arange(2 * 3 * 2).reshape(2, 3, 2).float()
    stack = ExpertStack(gate_up, down)
    assert len(stack) == 2
    assert stack[1].gate.tolist() == [[12, 13, 14], [15, 16, 17]]
    assert stack[1].up.tolist() == [[18, 19, 20], [21, 22, 23]]
    assert stack[1].down.tolist() == [[6, 7], [8, 9], [10, 11]]


def test_permuted_brings_neuron_p_of_a_to_position_a():
    expert = Expert(
        gate=torch.tensor([[0.0], [1.0], [2.0]]),
        up=torch.tensor([[0.0], [10.0], [20.0]]),
        down=torch.tensor([[5.0, 6.0, 7.0]]),
    )
    permuted = expert.permuted(torch.tensor([1, 2, 0]))
    assert permuted.gate.tolist() == [[1], [2], [0]]
    assert permuted.up.tolist() == [[10], [20], [0]]
    assert permuted.down.tolist() == [[6, 7, 5]]


def test_permuted_expert_is_the_same_function(rng):
    expert, x = random_expert(rng), rng.normal(size=4)
    permuted = expert.permuted(torch.from_numpy(rng.permutation(5)))
    np.testing.assert_allclose(
        reference.expert_output(x, *plain(permuted)), reference.expert_output(x, *plain(expert)), rtol=1e-12
    )
