import numpy as np
import pytest
import torch

from ream.core.experts import (
    BlockActivations,
    Expert,
    ExpertStack,
    OverwritingUnit,
    expert_outputs,
    neuron_activations,
    parts,
)
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


class Overwriting:
    """tanh(gate) · up, which can write its result over the gate; ``used`` counts how often it did."""

    used = 0

    def __call__(self, gate, up):
        return gate.tanh() * up

    def overwrite(self, gate, up):
        self.used += 1
        return gate.tanh_().mul_(up)


@pytest.mark.parametrize("overwriting", [True, False])
@pytest.mark.parametrize("extra", [(), ("gate_bias", "up_bias"), ("gate_bias",), ("up_bias",), ("input_gate",)])
def test_activations_of_a_block_are_those_of_its_experts(rng, overwriting, extra):
    def normal(*shape):
        return torch.from_numpy(rng.normal(size=shape)).float()

    sizes = {"gate_bias": 5, "up_bias": 5, "input_gate": 6}
    more = {name: normal(4, sizes[name]) for name in extra}
    stack, x = ExpertStack(normal(4, 5, 6), normal(4, 5, 6), normal(4, 6, 5), **more), normal(7, 6)
    before = {name: tensor.clone() for name, tensor in parts(stack)}
    unit = Overwriting()
    block = BlockActivations(unit if overwriting else unit.__call__)
    block(x, stack)  # leaves its numbers in the memory that the next call uses
    hidden = block(x[:3], stack.run(1, 3))
    assert hidden.shape == (2, 3, 5)
    for position in range(2):
        torch.testing.assert_close(hidden[position], neuron_activations(x[:3], stack[position + 1], unit))
    assert isinstance(unit, OverwritingUnit)
    assert unit.used == (2 if overwriting else 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts(stack))


def test_buffers_are_used_again_where_they_fit():
    block, cpu = BlockActivations(Overwriting()), torch.device("cpu")
    first = block.room("gate", torch.float32, cpu, 2, 6)
    assert (first.shape, first.dtype) == ((2, 6), torch.float32)
    for shape in ((3, 4), (5,)):
        again = block.room("gate", torch.float32, torch.device("cpu"), *shape)
        assert (again.shape, again.data_ptr()) == (shape, first.data_ptr())
    assert block.room("up", torch.float32, cpu, 2, 6).data_ptr() != first.data_ptr()
    assert block.room("gate", torch.float32, cpu, 13).shape == (13,)
    assert block.room("gate", torch.bfloat16, cpu, 2).dtype == torch.bfloat16
    assert block.room("gate", torch.bfloat16, torch.device("meta"), 2).device.type == "meta"


def test_an_expert_moves_to_another_dtype_as_a_whole(rng):
    expert = random_expert(rng)
    expert = Expert(expert.gate, expert.up, expert.down, down_bias=torch.ones(4))
    moved = expert.to(torch.device("cpu"), torch.float64)
    assert {name: tensor.dtype for name, tensor in parts(moved)} == dict.fromkeys(
        ("gate", "up", "down", "down_bias"), torch.float64
    )
    assert torch.equal(moved.gate.float(), expert.gate)
