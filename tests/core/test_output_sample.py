"""Sums of all experts' outputs over a sample, block by block."""

import numpy as np
import pytest
import torch

from ream.core.output_sample import BLOCKS, OutputSample
from tests.core import reference
from tests.core.layers import random_layer, silu_unit

BOTH = frozenset({"output-means", "gated-output-means"})


@pytest.mark.parametrize("needs", [BOTH, frozenset({"output-means"}), frozenset({"gated-output-means", "norms"})])
def test_sums_of_each_block_are_those_of_loops(rng, needs):
    layer, order = random_layer(rng, tokens=50), torch.from_numpy(rng.permutation(100)[:50])
    sample = OutputSample(layer.experts, silu_unit, needs)
    for part in (slice(0, 20), slice(20, 50)):
        sample.add(layer.x[part], layer.routing.scores[part], order[part])
    arrays = sample.arrays()
    kinds = {"output_parts": "output_sum", "gated_output_parts": "gated_output_sum"}
    wanted = {name for name in kinds if name.removesuffix("_parts").replace("_", "-") + "-means" in needs}
    assert set(arrays) == {"sample_tokens", *wanted}
    for block in range(BLOCKS):
        members = np.flatnonzero(order.numpy() % BLOCKS == block)
        assert arrays["sample_tokens"][block] == len(members)
        sums = reference.statistics(**layer.take(torch.from_numpy(members)).reference_inputs()) if len(members) else {}
        for name in wanted:
            expected = sums.get(kinds[name], np.zeros((6, 8)))
            np.testing.assert_allclose(arrays[name][block], expected, rtol=1e-4, atol=1e-5)


def test_biases_count_once_a_token(rng):
    layer = random_layer(rng, tokens=40)
    bias = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    biased = type(layer.experts)(layer.experts.gate, layer.experts.up, layer.experts.down, down_bias=bias)
    found = []
    for experts in (layer.experts, biased):
        sample = OutputSample(experts, silu_unit, BOTH)
        sample.add(layer.x, layer.routing.scores, torch.arange(40))
        found.append(sample.arrays())
    plain, more = found
    tokens = plain["sample_tokens"][:, None, None]
    np.testing.assert_allclose(
        more["output_parts"] - plain["output_parts"], tokens * bias.numpy(), rtol=1e-4, atol=1e-5
    )
    gates = np.stack([layer.routing.scores[block::BLOCKS].sum(0).numpy() for block in range(BLOCKS)])
    difference = more["gated_output_parts"] - plain["gated_output_parts"]
    np.testing.assert_allclose(difference, gates[..., None] * bias.numpy(), rtol=1e-4, atol=1e-5)


def test_tiles_change_rounding_alone(rng, monkeypatch):
    layer, found = random_layer(rng, tokens=90), []
    for numbers, tokens in ((3 << 18, 1024), (60, 7)):
        monkeypatch.setattr("ream.core.statistics.CPU_NUMBERS", numbers)
        monkeypatch.setattr("ream.core.statistics.CPU_TOKENS", tokens)
        sample = OutputSample(layer.experts, silu_unit, BOTH)
        sample.add(layer.x, layer.routing.scores, torch.arange(90))
        found.append(sample.arrays())
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-4, atol=1e-5)
