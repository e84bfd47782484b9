import weakref

import numpy as np
import pytest
import torch

from ream.core.experts import Expert
from ream.core.merging import merged
from tests.core import reference
from tests.core.layers import plain, random_expert


def parts(expert):
    return expert.gate, expert.up, expert.down


def ones(dtype):
    return Expert(*(torch.ones(1, 1, dtype=dtype) for _ in range(3)))


def test_by_hand():
    # Weights 1/4 and 3/4, neurons of the second in the order (1, 0): gate (1/4 · 0 + 3/4 · 8, 1/4 · 4 + 3/4 · 0).
    first = Expert(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [1.0]]), torch.tensor([[4.0, 8.0]]))
    second = Expert(torch.tensor([[0.0], [8.0]]), torch.tensor([[1.0], [5.0]]), torch.tensor([[0.0, 4.0]]))
    whole = merged([first, second], [0.25, 0.75], [None, torch.tensor([1, 0])])
    assert whole.gate.tolist() == [[6.0], [1.0]]
    assert whole.up.tolist() == [[4.0], [1.0]]
    assert whole.down.tolist() == [[4.0, 2.0]]


def test_matches_loops(rng):
    members = [random_expert(rng) for _ in range(4)]
    saliency = rng.uniform(size=4)
    orders = [np.arange(5), *(rng.permutation(5) for _ in range(3))]
    whole = merged(members, list(saliency / saliency.sum()), [None, *map(torch.from_numpy, orders[1:])])
    expected = reference.merged([plain(member) for member in members], saliency, orders)
    for actual, wanted in zip(parts(whole), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_identical_experts_merge_to_themselves(rng, dtype):
    expert = random_expert(rng, dtype=dtype)
    orders = [torch.from_numpy(rng.permutation(5)) for _ in range(2)]
    members = [expert, *(expert.permuted(order) for order in orders)]
    whole = merged(members, [0.5, 0.2, 0.3], [None, *map(torch.argsort, orders)])
    for actual, wanted in zip(parts(whole), parts(expert), strict=True):
        assert actual.dtype == dtype
        # 1 − 2e-7 of a number rounds back to it in 16 bits, and to a neighbour in float32.
        torch.testing.assert_close(actual, wanted, rtol=1e-6 if dtype == torch.float32 else 0.0, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lone_expert_passes_through_bit_by_bit(rng, dtype):
    expert = random_expert(rng, dtype=dtype)
    expert.gate[0] = -0.0
    whole = merged([expert], [1.0], [None])
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    for actual, wanted in zip(parts(whole), parts(expert), strict=True):
        assert torch.equal(actual.view(bits), wanted.view(bits))


def test_sums_in_float32():
    # 1000 · 0.001 is 1; in bfloat16 a running sum would stand still at 0.25, where 0.001 is less than half a step.
    mean = merged([ones(torch.bfloat16)] * 1000, [1e-3] * 1000, [None] * 1000)
    for tensor in parts(mean):
        assert tensor.dtype == torch.bfloat16
        assert tensor.tolist() == [[1.0]]


def test_takes_the_first_members_dtype():
    members = [ones(torch.bfloat16), ones(torch.float32)]
    for order, dtype in ((members, torch.bfloat16), (members[::-1], torch.float32)):
        assert {tensor.dtype for tensor in parts(merged(order, [0.5, 0.5], [None, None]))} == {dtype}


def test_members_are_taken_one_at_a_time(rng):
    alive, most = weakref.WeakSet(), []

    def members():
        for _ in range(5):
            expert = random_expert(rng)
            alive.add(expert.gate)
            most.append(len(alive))
            yield expert
            del expert

    merged(members(), [0.2] * 5, [None] * 5)
    assert max(most) <= 2


def test_member_of_weight_zero_does_not_count(rng):
    expert, other = random_expert(rng), random_expert(rng)
    whole = merged([expert, other], [1.0, 0.0], [None, None])
    for actual, wanted in zip(parts(whole), parts(expert), strict=True):
        assert torch.equal(actual, wanted)


def test_members_are_left_alone(rng):
    members = [random_expert(rng) for _ in range(2)]
    before = [[part.clone() for part in parts(member)] for member in members]
    merged(members, [0.5, 0.5], [None, torch.tensor([4, 3, 2, 1, 0])])
    for member, copies in zip(members, before, strict=True):
        for part, copy in zip(parts(member), copies, strict=True):
            assert torch.equal(part, copy)


@pytest.mark.parametrize(("weights", "permutations"), [([1.0], [None, None]), ([0.5, 0.5], [None])])
def test_counts_that_differ_are_refused(rng, weights, permutations):
    with pytest.raises(ValueError, match="zip"):
        merged([random_expert(rng), random_expert(rng)], weights, permutations)
