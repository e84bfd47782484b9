from dataclasses import FrozenInstanceError, fields

import jaxtyping
import numpy as np
import pytest
import torch

from ream.core import grouping, saliency, similarity
from ream.core.sums import Sums, mixed
from tests.core import reference
from tests.core.layers import FIELDS, assert_same_sums, random_layer, reference_sums, sums_of


@pytest.fixture
def sources(rng):
    """The layer's tokens in three sources of different sizes, and the reference's sums of each."""
    layer = random_layer(rng, tokens=18)
    parts = dict(zip(["c4", "math", "code"], torch.arange(18).split([4, 6, 8]), strict=True))
    return {name: reference.statistics(**layer.take(part).reference_inputs()) for name, part in parts.items()}


def test_fields_are_those_of_the_method():
    assert [field.name for field in fields(Sums)] == list(sums_of(count=[1.0]).arrays())
    assert set(FIELDS) == {field.name for field in fields(Sums)}


def test_shapes_are_checked_in_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        sums_of(count=[1.0, 2.0], norm_sum=[1.0, 2.0, 3.0])


def test_sums_are_frozen():
    with pytest.raises(FrozenInstanceError):
        sums_of(count=[1.0]).tokens = np.array(2.0)


def test_addition_by_hand():
    total = sums_of(tokens=2.0, count=[1.0, 2.0]) + sums_of(tokens=3.0, count=[10.0, 0.0], logit_gram=[[1, 2], [3, 4]])
    assert total.tokens == 5.0
    assert total.count.tolist() == [11.0, 2.0]
    assert total.norm_sum.tolist() == [2.0, 2.0]
    assert total.logit_gram.tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_scaled_by_hand():
    half = sums_of(tokens=3.0, count=[1.0, 2.0]).scaled(0.5)
    assert half.tokens == 1.5
    assert half.count.tolist() == [0.5, 1.0]
    assert half.output_sum.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_mix_by_hand():
    # c4: 2 tokens, counts (1, 4); math: 8 tokens, counts (8, 0). Ratios 1 : 3 are 1/4 and 3/4:
    # count_0 = 1/4 · 1/2 + 3/4 · 8/8 = 0.875, count_1 = 1/4 · 4/2 + 3/4 · 0 = 0.5, tokens = 1/4 + 3/4 = 1.
    sums = {"c4": sums_of(tokens=2.0, count=[1.0, 4.0]), "math": sums_of(tokens=8.0, count=[8.0, 0.0])}
    mix = mixed(sums, {"c4": 1.0, "math": 3.0})
    assert mix.tokens == 1.0
    assert mix.count.tolist() == [0.875, 0.5]


@pytest.mark.parametrize(
    "ratios",
    [
        {"c4": 0.3, "math": 0.3, "code": 0.3},
        {"c4": 0.2, "math": 0.5, "code": 0.3},
        {"c4": 0.0, "math": 0.7, "code": 0.3},
        {"code": 5.0, "c4": 1.0},
    ],
)
def test_mix_matches_loops(sources, ratios):
    mix = mixed({name: reference_sums(sums) for name, sums in sources.items()}, ratios)
    assert_same_sums(mix, reference_sums(reference.mixed(sources, ratios)), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mix.tokens, 1.0, rtol=1e-12)


def test_only_the_ratio_of_the_ratios_counts(sources):
    sums = {name: reference_sums(value) for name, value in sources.items()}
    thirds = mixed(sums, {"c4": 0.3, "math": 0.3, "code": 0.3})
    assert_same_sums(mixed(sums, {"c4": 7.0, "math": 7.0, "code": 7.0}), thirds, rtol=1e-12, atol=1e-14)


def test_mix_of_one_source_is_its_mean_per_token(sources):
    sums = reference_sums(sources["math"])
    assert_same_sums(mixed({"math": sums}, {"math": 0.8}), sums.scaled(1 / 6), rtol=1e-12, atol=1e-14)


def test_source_with_zero_ratio_may_be_left_out(sources):
    sums = {name: reference_sums(sources[name]) for name in ("c4", "math")}
    mix = mixed(sums, {"c4": 0.5, "math": 0.5, "code": 0.0})
    assert_same_sums(mix, mixed(sums, {"c4": 0.5, "math": 0.5}), rtol=0, atol=0)


def test_integer_ratios_are_repeated_tokens(rng):
    """Equal token counts, ratios 2 : 1 : 3: the mix is the pass over text where the sources' tokens repeat so often."""
    layer, ratios = random_layer(rng, tokens=15), {"c4": 2.0, "math": 1.0, "code": 3.0}
    parts = dict(zip(ratios, torch.arange(15).split(5), strict=True))
    mix = mixed({name: layer.take(part).sums() for name, part in parts.items()}, ratios)
    repeated = torch.cat([part for name, part in parts.items() for _ in range(int(ratios[name]))])
    oracle = layer.take(repeated).sums()
    assert oracle.tokens == 30
    assert_same_sums(mix, oracle.scaled(1 / 30), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(saliency.reap(mix), saliency.reap(oracle), rtol=1e-5)
    kinds = ["gate-logits", "gated-output"]
    np.testing.assert_allclose(similarity.similarity(kinds, mix), similarity.similarity(kinds, oracle), atol=1e-6)
    groups = [
        grouping.pseudo_pruning(grouping.Experts(saliency.reap(s), similarity.similarity(kinds, s)), 3, 1)
        for s in (mix, oracle)
    ]
    assert groups[0].group.tolist() == groups[1].group.tolist()


def test_source_size_does_not_weigh(rng):
    """A source twice as long, of the same tokens, changes nothing: each counts by its ratio."""
    layer = random_layer(rng, tokens=12)
    math, code = layer.take(torch.arange(5)), layer.take(torch.arange(5, 12))
    twice = layer.take(torch.cat([torch.arange(5, 12)] * 2))
    ratios = {"math": 0.5, "code": 0.5}
    once = mixed({"math": math.sums(), "code": code.sums()}, ratios)
    assert_same_sums(mixed({"math": math.sums(), "code": twice.sums()}, ratios), once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ratios", [{}, {"c4": 0.0}, {"c4": 0.0, "math": 0.0}])
def test_mix_of_nothing_is_refused(ratios):
    with pytest.raises(ValueError, match="at least one positive ratio"):
        mixed({"c4": sums_of(count=[1.0])}, ratios)


def test_source_without_tokens_is_refused():
    with pytest.raises(ValueError, match="source math has no tokens"):
        mixed({"math": sums_of(tokens=0.0, count=[0.0])}, {"math": 1.0})
