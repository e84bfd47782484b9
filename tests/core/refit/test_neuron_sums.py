"""Sums over the tokens of a layer's groups, and what the groups give with all neurons, against loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.refit.neuron_sums import PooledTokens, neuron_sums, pooled_outputs
from tests.core import reference
from tests.core.layers import float64, random_layer, silu_unit


@pytest.mark.parametrize("gated", [False, True])
def test_sums_and_pooled_outputs_match_loops(rng, gated):
    layer = random_layer(rng, tokens=23, experts=5, dtype=torch.float64)
    hidden = layer.x.shape[1]
    biases = torch.from_numpy(rng.normal(size=(5, hidden)))
    experts = replace(layer.experts, down_bias=biases)
    indices = torch.from_numpy(np.stack([rng.permutation(3)[:2] for _ in range(23)]))
    routing = replace(
        layer.routing,
        logits=layer.routing.logits[:, :3],
        scores=layer.routing.scores[:, :3],
        indices=indices,
        weights=torch.from_numpy(rng.uniform(size=(23, 2))),
    )
    members = [np.array([1, 4]), np.array([3]), np.array([0, 2])]
    shares = np.array([0.25, 0.4, 0.75, 1.0, 0.6])
    groups = {0: members[0], 2: members[2]}
    gates = torch.from_numpy(rng.normal(size=(3, hidden))) if gated else None
    error = torch.from_numpy(rng.normal(size=(23, hidden)))
    stream = [
        PooledTokens(layer.x[part], routing.take(part), error[part]) for part in (torch.arange(9), torch.arange(9, 23))
    ]
    sums = neuron_sums(stream, experts, groups, silu_unit, hidden, gates)
    pooled = pooled_outputs(layer.x, routing, experts, members, shares, silu_unit, gates)
    x, gate, up, down = (float64(tensor) for tensor in (layer.x, experts.gate, experts.up, experts.down))
    grams, products = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
    counts, outputs = dict.fromkeys(groups, 0), np.zeros((23, hidden))
    for t in range(23):
        for j, weight in zip(indices[t].tolist(), routing.weights[t].tolist(), strict=True):
            scale = 1 / (1 + np.exp(-float64(gates[j]) @ x[t])) if gated else 1.0
            neurons = {m: reference.hidden(scale * x[t], gate[m], up[m]) for m in members[j]}
            for m, values in neurons.items():
                outputs[t] += weight * (down[m] @ values + shares[m] * float64(biases[m]))
            if j in groups:
                f = weight * np.concatenate(list(neurons.values()))
                grams[j] = grams[j] + np.outer(f, f)
                products[j] = products[j] + np.outer(float64(error[t]), f)
                counts[j] += 1
    tolerance = 1e-4 if gated else 1e-9  # the gate is a float32
    np.testing.assert_allclose(pooled, outputs, rtol=tolerance, atol=tolerance)
    for position, own in sums.items():
        np.testing.assert_allclose(own.gram, grams[position], rtol=tolerance)
        np.testing.assert_allclose(own.products, products[position], rtol=tolerance, atol=tolerance)
        assert own.count == counts[position] > 0
    untargeted = neuron_sums(
        [replace(tokens, error=None) for tokens in stream], experts, groups, silu_unit, input_gates=gates
    )
    assert all(own.products is None for own in untargeted.values())
    assert torch.equal(untargeted[0].gram, sums[0].gram)
