import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.experts import ExpertStack
from ream.core.routing import Routing
from ream.core.saliency import available
from ream.core.similarity import similarity
from ream.core.statistics import LayerStatistics
from tests.core import reference
from tests.core.layers import Layer, assert_same_sums, random_layer, reference_sums, silu_unit

ROUTERS = {
    "softmax-renormalised": {"scores": "softmax", "renormalise": True},
    "softmax": {"scores": "softmax", "renormalise": False},
    "sigmoid-scaled": {"scores": "sigmoid", "renormalise": True, "scale": 2.5},
    "sigmoid": {"scores": "sigmoid", "renormalise": False},
}


def test_by_hand():
    # Two experts, H = D = 1, relu, T = 2, k = 1. h_j(x) = relu(gate x) · up x.
    # Expert 0: gate 1, up 2, down -3: E_0(1) = -6, E_0(2) = -24. Expert 1: gate -1, up 1, down 5: relu(-x) = 0.
    # Token x = 1: logits (ln 3, 0), scores (3/4, 1/4), goes to 0 with g = 1/2.
    # Token x = 2: logits (0, 0), scores (1/2, 1/2), goes to 1 with g = 1.
    # output_sum_0 = -6 - 24 = -30; gated: 3/4 · -6 + 1/2 · -24 = -16.5.
    # norm_sum_0 = 6 (the first token only), weighted 1/2 · 6 = 3, released (3/4)² · 6 = 3.375. Expert 1: all zero.
    # logit_gram_00 = (ln 3)².
    layer = Layer(
        torch.tensor([[1.0], [2.0]]),
        ExpertStack(
            gate=torch.tensor([[[1.0]], [[-1.0]]]),
            up=torch.tensor([[[2.0]], [[1.0]]]),
            down=torch.tensor([[[-3.0]], [[5.0]]]),
        ),
        Routing(
            torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]),
            torch.tensor([[0.75, 0.25], [0.5, 0.5]]),
            torch.tensor([[0], [1]]),
            torch.tensor([[0.5], [1.0]]),
        ),
    )
    statistics = LayerStatistics(layer.experts, lambda gate, up: gate.relu() * up)
    statistics.update(layer.x, layer.routing)
    sums = statistics.result()
    assert sums.tokens == 2.0
    assert sums.count.tolist() == [1.0, 1.0]
    assert sums.norm_sum.tolist() == [6.0, 0.0]
    assert sums.weighted_norm_sum.tolist() == [3.0, 0.0]
    np.testing.assert_allclose(sums.released_norm_sum, [3.375, 0.0], rtol=1e-6)
    assert sums.output_sum.tolist() == [[-30.0], [0.0]]
    assert sums.gated_output_sum.tolist() == [[-16.5], [0.0]]
    np.testing.assert_allclose(sums.logit_gram, [[math.log(3.0) ** 2, 0.0], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
@pytest.mark.parametrize("top_k", [1, 3])
def test_matches_loops(rng, router, top_k):
    layer = random_layer(rng, top_k=top_k, **router)
    assert_same_sums(layer.sums(), reference_sums(reference.statistics(**layer.reference_inputs())))


def test_bfloat16_is_within_a_hundredth_of_loops(rng):
    # 8 bits of significand: 2^-9 of rounding in each of x, h and E, and sums whose terms partly cancel.
    layer = random_layer(rng, tokens=40, dtype=torch.bfloat16)
    assert layer.routing.weights.dtype == torch.bfloat16
    expected = reference_sums(reference.statistics(**layer.reference_inputs()))
    sums = layer.sums()
    assert_same_sums(sums, expected, rtol=0.01, atol=0.01)
    assert sums.count.tolist() == expected.count.tolist()
    np.testing.assert_allclose(sums.logit_gram, expected.logit_gram, rtol=1e-12, atol=1e-12)  # products in float64


def test_results_are_float64(rng):
    for value in random_layer(rng, dtype=torch.bfloat16).sums().arrays().values():
        assert value.dtype == np.float64


def test_padding_changes_nothing(rng):
    layer = random_layer(rng, tokens=20)
    mask = torch.from_numpy(rng.permutation(20) < 13)
    padded_x, padded_logits = layer.x.clone(), layer.routing.logits.clone()
    padded_x[~mask], padded_logits[~mask] = math.nan, 1e6  # whatever stands in the padding
    padded = Layer(padded_x, layer.experts, replace(layer.routing, logits=padded_logits))
    expected = reference_sums(reference.statistics(**layer.reference_inputs(), mask=mask.tolist()))
    assert expected.tokens == 13
    assert_same_sums(padded.sums(mask), expected)
    assert_same_sums(padded.sums(mask), layer.take(mask).sums(), rtol=0, atol=0)


def test_mask_of_ones_is_no_mask_and_of_zeros_adds_nothing(rng):
    layer = random_layer(rng)
    assert_same_sums(layer.sums(torch.ones(17, dtype=torch.bool)), layer.sums(), rtol=0, atol=0)
    for value in layer.sums(torch.zeros(17, dtype=torch.bool)).arrays().values():
        assert not value.any()


@pytest.mark.parametrize("sizes", [[1] * 17, [5, 5, 5, 2], [16, 1]])
def test_batches_change_nothing(rng, sizes):
    layer = random_layer(rng)
    statistics = LayerStatistics(layer.experts, silu_unit)
    for part in torch.arange(17).split(sizes):
        statistics.update(layer.x[part], layer.routing.take(part))
    assert_same_sums(statistics.result(), layer.sums(), rtol=1e-5, atol=1e-6)


def test_shards_and_sources_add_up(rng):
    layer = random_layer(rng)
    shards = [layer.take(part).sums() for part in torch.arange(17).split([3, 10, 4])]
    assert_same_sums(shards[0] + shards[1] + shards[2], layer.sums(), rtol=1e-5, atol=1e-6)


def test_token_order_changes_nothing(rng):
    layer = random_layer(rng)
    assert_same_sums(layer.take(torch.from_numpy(rng.permutation(17))).sums(), layer.sums(), rtol=1e-5, atol=1e-6)


def test_order_of_the_selected_experts_changes_nothing(rng):
    layer = random_layer(rng, top_k=3)
    flipped = replace(layer.routing, indices=layer.routing.indices.flip(1), weights=layer.routing.weights.flip(1))
    assert_same_sums(Layer(layer.x, layer.experts, flipped).sums(), layer.sums(), rtol=1e-12, atol=1e-12)


def test_neuron_order_changes_nothing(rng):
    layer = random_layer(rng)
    orders = [torch.from_numpy(rng.permutation(5)) for _ in range(6)]
    moved = [layer.experts[expert].permuted(order) for expert, order in enumerate(orders)]
    stacked = {name: torch.stack([getattr(expert, name) for expert in moved]) for name in ("gate", "up", "down")}
    shuffled, original = layer.with_experts(ExpertStack(**stacked)).sums(), layer.sums()
    assert not torch.equal(stacked["gate"], layer.experts.gate)
    assert_same_sums(shuffled, original, rtol=1e-5, atol=1e-6)
    saliencies = available(shuffled)
    for kind, saliency in available(original).items():
        np.testing.assert_allclose(saliencies[kind], saliency, rtol=1e-5)
    kinds = ["gate-logits", "output", "gated-output"]
    np.testing.assert_allclose(similarity(kinds, shuffled), similarity(kinds, original), atol=1e-5)


def test_expert_never_routed_to_still_has_output_sums(rng):
    layer = random_layer(rng, never=[2])
    sums, expected = layer.sums(), reference.statistics(**layer.reference_inputs())
    assert sums.count[2] == sums.norm_sum[2] == sums.weighted_norm_sum[2] == sums.released_norm_sum[2] == 0.0
    assert np.linalg.norm(expected["gated_output_sum"][2]) > 0.01
    np.testing.assert_allclose(sums.gated_output_sum[2], expected["gated_output_sum"][2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums.output_sum[2], expected["output_sum"][2], rtol=1e-4, atol=1e-5)


def test_one_expert(rng):
    layer = random_layer(rng, experts=1, top_k=1)
    assert_same_sums(layer.sums(), reference_sums(reference.statistics(**layer.reference_inputs())))
    np.testing.assert_allclose(layer.sums().weighted_norm_sum, layer.sums().norm_sum, rtol=1e-6)


@pytest.mark.slow
def test_running_totals_do_not_lose_small_terms():
    # An output of norm 1e8, then 1000 of norm 1: a float32 total would stay at 1e8.
    experts = ExpertStack(torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    statistics = LayerStatistics(experts, lambda gate, up: gate * up)
    one = Routing(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1))
    statistics.update(torch.tensor([[1e4]]), one)
    for _ in range(1000):
        statistics.update(torch.ones(1, 1), one)
    sums = statistics.result()
    assert sums.tokens == sums.count[0] == sums.logit_gram[0, 0] == 1001
    for name in ("norm_sum", "weighted_norm_sum", "released_norm_sum", "output_sum", "gated_output_sum"):
        assert getattr(sums, name).item() == 1e8 + 1000, name


def test_bfloat16_tokens_are_summed_in_more_than_bfloat16():
    # E(x) = 1 for each of 1001 tokens. The nearest number with 8 bits of significand is 1000.
    experts = ExpertStack(*[torch.ones(1, 1, 1, dtype=torch.bfloat16)] * 3)
    ones = torch.ones(1001, 1, dtype=torch.bfloat16)
    statistics = LayerStatistics(experts, lambda gate, up: gate * up)
    statistics.update(ones, Routing(ones, ones.float(), torch.zeros(1001, 1, dtype=torch.int64), ones))
    for name, value in statistics.result().arrays().items():
        assert value.item() == 1001.0, name


def test_output_biases_by_hand():
    # One expert, E(x) = 2·x² − 1 (gate = up = x, down 2, bias −1) and p = 1/4, 1/2 for x = 1, 3: outputs 1 and 17.
    one = torch.ones(1, 1, 1)
    experts = ExpertStack(one, one, 2 * one, down_bias=-torch.ones(1, 1))
    statistics = LayerStatistics(experts, lambda gate, up: gate * up)
    routing = Routing(
        torch.zeros(2, 1), torch.tensor([[0.25], [0.5]]), torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1)
    )
    statistics.update(torch.tensor([[1.0], [3.0]]), routing)
    sums = statistics.result()
    assert (sums.norm_sum.item(), sums.output_sum.item(), sums.gated_output_sum.item()) == (18.0, 18.0, 8.75)


def test_result_is_a_snapshot(rng):
    layer = random_layer(rng)
    statistics = LayerStatistics(layer.experts, silu_unit)
    statistics.update(layer.x, layer.routing)
    first = statistics.result()
    statistics.update(layer.x, layer.routing)
    assert_same_sums(first, layer.sums(), rtol=0, atol=0)
    assert_same_sums(statistics.result(), first + first, rtol=1e-12, atol=0)


def test_inputs_that_require_gradients_leave_no_graph(rng):
    layer = random_layer(rng)
    x = layer.x.clone().requires_grad_()
    statistics = LayerStatistics(layer.experts, silu_unit)
    statistics.update(x, layer.routing)
    assert not statistics.hidden_sums.requires_grad
    assert_same_sums(statistics.result(), layer.sums(), rtol=0, atol=0)
