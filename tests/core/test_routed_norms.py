"""Norms of routed outputs without the dense pass."""

import numpy as np
import pytest
import torch

from ream.core.pairs import routed_pairs
from ream.core.routed_norms import routed_norms
from ream.core.statistics import LayerStatistics
from tests.core import reference
from tests.core.layers import random_layer, reference_sums, silu_unit
from tests.core.test_statistics import ROUTERS


def test_norms_are_those_of_loops(rng):
    layer = random_layer(rng, never=(2,))
    pairs = routed_pairs(layer.routing.indices, 6, 17)
    norms = routed_norms(layer.x, pairs, layer.experts, silu_unit)
    assert norms.dtype == torch.float64
    for norm, token, expert in zip(norms.tolist(), pairs.token.tolist(), pairs.expert.tolist(), strict=True):
        x, gate, up, down = (
            tensor.double() for tensor in (layer.x[token], layer.experts.gate, layer.experts.up, layer.experts.down)
        )
        hidden = [
            float(g @ x) / (1 + np.exp(-float(g @ x))) * float(u @ x)
            for g, u in zip(gate[expert], up[expert], strict=True)
        ]
        output = [sum(float(weight) * h for weight, h in zip(row, hidden, strict=True)) for row in down[expert]]
        assert norm == pytest.approx(np.sqrt(sum(value**2 for value in output)), rel=1e-5)


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
@pytest.mark.parametrize("padded", [False, True])
def test_without_the_dense_pass_routed_sums_are_those_of_loops_and_outputs_are_not_known(rng, router, padded):
    layer = random_layer(rng, never=(1,), **router)
    mask = torch.from_numpy(rng.permutation(17) < 11) if padded else None
    statistics = LayerStatistics(layer.experts, silu_unit, dense=False)
    statistics.update(layer.x, layer.routing, mask)
    given = layer.reference_inputs() | ({"mask": mask.tolist()} if padded else {})
    expected = reference_sums(reference.statistics(**given)).arrays()
    for name, value in statistics.result().arrays().items():
        if name in ("output_sum", "gated_output_sum"):
            assert np.isnan(value).all()
        else:
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
