"""Routed outputs without the dense pass: their norms, and the layer's output."""

import math

import numpy as np
import pytest
import torch

from ream.core.composition import needs
from ream.core.pairs import routed_pairs
from ream.core.routed_outputs import routed_outputs
from ream.core.statistics import LayerStatistics
from ream.params import load_params
from tests.core import reference
from tests.core.layers import random_layer, reference_sums, silu_unit
from tests.core.test_statistics import ROUTERS
from tests.tiny import ROOT

NORMS = frozenset({"norms"})
METHODS = load_params(ROOT / "params.yaml").methods
SUMS = {
    "norms": {"norm_sum", "weighted_norm_sum", "released_norm_sum"},
    "squared-norms": {"squared_norm_sum"},
    "batch-norms": set(),  # only where there are batches: tests/core/test_norm_sums.py
    "logit-gram": {"logit_gram"},
    "output-means": {"output_sum", "gated_output_sum"},  # one pass gives both
    "gated-output-means": {"output_sum", "gated_output_sum"},
    "probes": set(),
    "peak-norms": {"power_norm_sum"},
    "pair-norms": {"pair_count", "pair_sum"},
}


def output_of(layer, token, expert):
    """E_j(x) in loops."""
    x, gate, up, down = (
        tensor.double().tolist()
        for tensor in (layer.x[token], layer.experts.gate[expert], layer.experts.up[expert], layer.experts.down[expert])
    )
    hidden = []
    for g, u in zip(gate, up, strict=True):
        before = sum(a * b for a, b in zip(g, x, strict=True))
        hidden.append(before / (1 + math.exp(-before)) * sum(a * b for a, b in zip(u, x, strict=True)))
    return [sum(weight * h for weight, h in zip(row, hidden, strict=True)) for row in down]


def test_norms_and_the_weighted_sum_are_those_of_loops(rng):
    layer = random_layer(rng, never=(2,))
    pairs = routed_pairs(layer.routing.indices, 6, 17)
    weights = layer.routing.weights.reshape(-1)[pairs.flat]
    norms, combined = routed_outputs(layer.x, pairs, weights, layer.experts, silu_unit)
    assert norms.dtype == torch.float64
    for norm, token, expert in zip(norms.tolist(), pairs.token.tolist(), pairs.expert.tolist(), strict=True):
        assert norm == pytest.approx(math.hypot(*output_of(layer, token, expert)), rel=1e-5)
    for token in range(17):
        expected = np.zeros(8)
        for expert, weight in zip(layer.routing.indices[token].tolist(), layer.routing.weights[token], strict=True):
            expected += float(weight) * np.array(output_of(layer, token, expert))
        np.testing.assert_allclose(combined[token], expected, rtol=1e-4, atol=1e-5)
    assert routed_outputs(layer.x, pairs, None, layer.experts, silu_unit)[1] is None


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
@pytest.mark.parametrize("padded", [False, True])
def test_without_the_dense_pass_routed_sums_are_those_of_loops_and_nothing_else_is_known(rng, router, padded):
    layer = random_layer(rng, never=(1,), **router)
    mask = torch.from_numpy(rng.permutation(17) < 11) if padded else None
    statistics = LayerStatistics(layer.experts, silu_unit, NORMS)
    output = statistics.update(layer.x, layer.routing, mask, combine=True)
    given = layer.reference_inputs() | ({"mask": mask.tolist()} if padded else {})
    expected = reference_sums(reference.statistics(**given)).arrays()
    for name, value in statistics.result().arrays().items():
        if name in ("output_sum", "gated_output_sum", "logit_gram"):
            assert np.isnan(value).all()
        else:
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    pairs = routed_pairs(layer.routing.indices, 6, 17)
    weights = layer.routing.weights.reshape(-1)[pairs.flat]
    whole = routed_outputs(layer.x, pairs, weights, layer.experts, silu_unit)[1]
    real = torch.ones(17, dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(output[real], whole[real])
    assert not output[~real].any()


def test_a_batch_of_padding_alone_has_no_routed_output(rng):
    layer, padding = random_layer(rng), torch.zeros(17, dtype=torch.bool)
    assert not LayerStatistics(layer.experts, silu_unit, NORMS).update(layer.x, layer.routing, padding, True).any()
    assert LayerStatistics(layer.experts, silu_unit).update(layer.x, layer.routing, padding, True) is None


@pytest.mark.parametrize("name", METHODS)
def test_a_method_measures_what_it_needs_as_if_all_were_measured(name, rng):
    needed, layer = needs(METHODS[name].composition()), random_layer(rng)
    everything = layer.sums().arrays()
    statistics = LayerStatistics(layer.experts, silu_unit, needed)
    statistics.update(layer.x, layer.routing)
    known = {"tokens", "count"}.union(*(SUMS[quantity] for quantity in needed))
    for field, value in statistics.result().arrays().items():
        if field in known:
            np.testing.assert_allclose(value, everything[field], rtol=1e-5, atol=1e-6)
        else:
            assert np.isnan(value).all(), field
