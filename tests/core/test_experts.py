import numpy as np
import torch

from ream.core.experts import Expert, ExpertStack, expert_outputs, neuron_activations
from tests.core import reference
from tests.core.layers import float64, plain, random_expert, silu_unit


def test_neuron_activations_by_hand():
    # x = (1, 2). Neuron 0: gate row (1, 0) gives 1, up row (0, 3) gives 6: relu(1) · 6 = 6.
    # Neuron 1: gate row (0, -1) gives -2, so relu gives 0, whatever the up row (5, 5) gives.
    # Gate and up swapped, neuron 0 would give relu(6) · 1 = 6 but neuron 1 relu(15) · -2 = -30.
    expert = Expert(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[0.0, 3.0], [5.0, 5.0]]), torch.ones(2, 2))
    activations = neuron_activations(torch.tensor([[1.0, 2.0]]), expert, lambda gate, up: gate.relu() * up)
    assert activations.tolist() == [[6.0, 0.0]]


def test_neuron_activations_match_loops(rng):
    expert, x = random_expert(rng), torch.from_numpy(rng.normal(size=(7, 4))).float()
    gate, up, _ = plain(expert)
    expected = [reference.hidden(token, gate, up) for token in float64(x)]
    np.testing.assert_allclose(neuron_activations(x, expert, silu_unit), expected, rtol=1e-5, atol=1e-6)


def test_stack_gives_each_expert_its_tensors():
    def stack(*shape):
        return torch.arange(float(np.prod(shape))).reshape(shape)

    experts = ExpertStack(stack(2, 2, 3), -stack(2, 2, 3), stack(2, 3, 2), down_bias=stack(2, 3))
    assert len(experts) == 2
    assert experts[1].gate.tolist() == [[6, 7, 8], [9, 10, 11]]
    assert experts[1].up.tolist() == [[-6, -7, -8], [-9, -10, -11]]
    assert experts[1].down.tolist() == [[6, 7], [8, 9], [10, 11]]
    assert experts[1].down_bias.tolist() == [3, 4, 5]
    assert experts[1].gate_bias is None


def test_biases_by_hand():
    # x = 2. Gate 3·2 + 1 = 7, up 1·2 − 4 = −2, so h = 7 · −2 = −14 and E = 10·−14 + 5 = −135.
    one = torch.ones(1)
    expert = Expert(
        3 * one[:, None], one[:, None], 10 * one[:, None], gate_bias=one, up_bias=-4 * one, down_bias=5 * one
    )
    hidden = neuron_activations(torch.tensor([[2.0]]), expert, lambda gate, up: gate * up)
    assert hidden.tolist() == [[-14.0]]
    assert expert_outputs(hidden, expert).tolist() == [[-135.0]]


def test_input_gate_scales_the_input_by_hand():
    # sigmoid(ln 3 · 1) = 3/4: the expert sees 0.75, its gate 4 · 0.75 = 3, its up 8 · 0.75 = 6.
    one = torch.ones(1, 1)
    expert = Expert(4 * one, 8 * one, one, input_gate=torch.tensor([np.log(3.0)], dtype=torch.float32))
    hidden = neuron_activations(one, expert, lambda gate, up: gate * up)
    np.testing.assert_allclose(hidden, [[18.0]], rtol=1e-6)


def test_permuted_brings_neuron_p_of_a_to_position_a():
    expert = Expert(
        gate=torch.tensor([[0.0], [1.0], [2.0]]),
        up=torch.tensor([[0.0], [10.0], [20.0]]),
        down=torch.tensor([[5.0, 6.0, 7.0]]),
        gate_bias=torch.tensor([0.0, 1.0, 2.0]),
        up_bias=torch.tensor([3.0, 4.0, 5.0]),
        down_bias=torch.tensor([9.0]),
    )
    permuted = expert.permuted(torch.tensor([1, 2, 0]))
    assert (permuted.gate_bias.tolist(), permuted.up_bias.tolist(), permuted.down_bias.tolist()) == (
        [1, 2, 0],
        [4, 5, 3],
        [9],
    )
    assert permuted.gate.tolist() == [[1], [2], [0]]
    assert permuted.up.tolist() == [[10], [20], [0]]
    assert permuted.down.tolist() == [[6, 7, 5]]


def test_permuted_expert_is_the_same_function(rng):
    expert, x = random_expert(rng), rng.normal(size=4)
    permuted = expert.permuted(torch.from_numpy(rng.permutation(5)))
    np.testing.assert_allclose(
        reference.expert_output(x, *plain(permuted)), reference.expert_output(x, *plain(expert)), rtol=1e-12
    )
