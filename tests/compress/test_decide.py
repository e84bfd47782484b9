"""Weights of merged experts, and experts that stay in any case."""

import numpy as np
import pytest

from ream.compress.decide import group_layer
from ream.core.composition import Composition
from tests.core.layers import random_layer, silu_unit


def sums_of(rng):
    from ream.core.statistics import LayerStatistics

    layer = random_layer(rng, tokens=80)
    statistics = LayerStatistics(layer.experts, silu_unit)
    statistics.update(layer.x, layer.routing)
    return statistics.result()


@pytest.mark.parametrize(
    ("weighting", "weigh"),
    [
        ("saliency", lambda saliency, count: saliency),
        ("squared-saliency", lambda saliency, count: saliency * saliency),
        ("frequency", lambda saliency, count: count),
        ("equal", lambda saliency, count: 1.0),
    ],
)
def test_members_weigh_what_the_method_says(rng, weighting, weigh):
    sums = sums_of(rng)
    method = Composition("reap", "nearest-centroid", ("gate-logits",), weighting=weighting)
    layer = group_layer(method, sums, 2, 1, 1)
    sizes = []
    for position in range(2):
        members = layer.groups.members(position)
        given = [weigh(sums.weighted_norm_sum[j] / sums.count[j], sums.count[j]) for j in members]
        np.testing.assert_allclose(layer.weights[members], np.array(given) / sum(given))
        sizes.append(len(members))
    assert max(sizes) > 1


def test_the_centroid_alone_may_weigh(rng):
    method = Composition("reap", "nearest-centroid", ("gate-logits",), weighting="centroid")
    layer = group_layer(method, sums_of(rng), 2, 1, 1)
    assert (layer.groups.group >= 0).all()
    assert layer.weights.tolist() == [float(expert in layer.groups.kept) for expert in range(len(layer.weights))]


def test_experts_that_stay_are_kept_first_and_saliency_is_recorded_as_it_was(rng):
    sums = sums_of(rng)
    method = Composition("reap", "pruning")
    plain = group_layer(method, sums, 2, 1, 1)
    worst = np.argsort(plain.saliency)[:1]
    stay = np.zeros(len(plain.saliency), dtype=bool)
    stay[worst] = True
    layer = group_layer(method, sums, 2, 1, 1, stay=stay)
    assert layer.groups.kept.tolist() == sorted([int(worst[0]), int(np.argmax(plain.saliency))])
    assert np.array_equal(layer.saliency, plain.saliency)
