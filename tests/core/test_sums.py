from dataclasses import FrozenInstanceError, fields, replace

import jaxtyping
import numpy as np
import pytest
import torch

from ream.core import grouping, saliency, similarity
from ream.core.sums import Sums, mixed, settled
from tests.core import reference
from tests.core.layers import FIELDS, assert_same_sums, random_layer, reference_sums, sums_of

KINDS = ("output", "gated_output")


@pytest.fixture
def sources(rng):
    """The layer's tokens in three sources of different sizes, and the reference's sums of each."""
    layer = random_layer(rng, tokens=18)
    parts = dict(zip(["c4", "math", "code"], torch.arange(18).split([4, 6, 8]), strict=True))
    return {name: reference.statistics(**layer.take(part).reference_inputs()) for name, part in parts.items()}


def test_fields_are_those_of_the_method():
    assert [field.name for field in fields(Sums)][: len(FIELDS)] == list(sums_of(count=[1.0]).arrays())
    sample = {"sample_tokens", *(f"{kind}_{what}" for kind in KINDS for what in ("parts", "deviations"))}
    batches = {"batch_count", "batch_norm_sum", "batch_mean_sum", "power_norm_sum", "pair_count", "pair_sum"}
    assert {field.name for field in fields(Sums)} == {*FIELDS, *sample, "squared_norm_sum", *batches}


def test_mean_of_batch_means_by_hand():
    # Expert 0: batches of mean 6/2 and 5/1: (3 + 5 + 0) / 3. Expert 1: only in the last: (0 + 0 + 6) / 3.
    sums = sums_of(tokens=9.0, count=[3.0, 2.0])
    batches = replace(
        sums,
        batch_count=np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 2.0]]),
        batch_norm_sum=np.array([[6.0, 0.0], [5.0, 0.0], [0.0, 12.0]]),
    )
    final = settled(batches)
    np.testing.assert_allclose(saliency.released_batches(final), [8 / 3, 2.0], rtol=1e-15)
    assert final.batch_count is None
    assert final.batch_norm_sum is None
    with pytest.raises(ValueError, match="settled"):
        saliency.released_batches(batches)
    # A mix has the mean of its sources by their ratios: 1/4 · 8/3 + 3/4 · 2, and 1/4 · 2 + 3/4 · 0.
    other = replace(
        sums_of(tokens=2.0, count=[2.0, 0.0]),
        batch_count=np.array([[2.0, 0.0]]),
        batch_norm_sum=np.array([[4.0, 0.0]]),
    )
    mix = mixed({"c4": batches, "math": other}, {"c4": 1.0, "math": 3.0})
    np.testing.assert_allclose(saliency.released_batches(mix), [2 / 3 + 1.5, 0.5], rtol=1e-15)


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


def sampled(rng, tokens=1000.0, sizes=(5, 4, 6, 5), experts=3, hidden=2, shift=0.0):
    """Sums with outputs from a sample, and the outputs [n, N, H] of its tokens."""
    outputs = rng.normal(loc=1 + shift, size=(sum(sizes), experts, hidden))
    blocks = np.split(outputs, np.cumsum(sizes)[:-1])
    parts = np.stack([block.sum(axis=0) for block in blocks])
    unknown = np.full((experts, hidden), np.nan)
    sums = sums_of(tokens=tokens, count=np.ones(experts), output_sum=unknown, gated_output_sum=unknown)
    return replace(sums, sample_tokens=np.array(sizes, dtype=float), output_parts=parts), outputs


def test_a_settled_sample_is_the_jackknife(rng):
    sums, outputs = sampled(rng)
    final = settled(sums)
    np.testing.assert_allclose(final.output_sum, 1000 * outputs.mean(axis=0))
    assert np.isnan(final.gated_output_sum).all()
    assert final.gated_output_deviations is None
    assert final.sample_tokens is None
    assert final.output_parts is None
    blocks, without = np.split(outputs, np.cumsum((5, 4, 6, 5))[:-1]), []
    for left_out in range(4):
        without.append(np.concatenate([b for index, b in enumerate(blocks) if index != left_out]).mean(axis=0))
    spread = 1000 * np.sqrt(3 / 4 * (1 - 20 / 1000)) * (np.stack(without) - np.mean(without, axis=0))
    np.testing.assert_allclose(final.output_deviations, spread, rtol=1e-5, atol=1e-4)
    assert settled(final) is final


def test_a_sample_of_all_tokens_has_no_error(rng):
    sums, outputs = sampled(rng, tokens=20.0)
    final = settled(sums)
    np.testing.assert_allclose(final.output_sum, outputs.sum(axis=0))
    assert not final.output_deviations.any()


def test_the_jackknife_finds_the_standard_error_of_a_mean(rng):
    # 400 samples of 320 tokens in 16 blocks: outputs of variance 1 have means of standard error 1 / sqrt(320).
    found, means = [], []
    for _ in range(400):
        final = settled(sampled(rng, tokens=1e9, sizes=(20,) * 16, experts=1)[0])
        means.append(final.output_sum[0, 0] / 1e9)
        found.append((final.output_deviations[:, 0, 0] ** 2).sum() / 1e18)
    assert np.mean(found) == pytest.approx(1 / 320, rel=0.1)
    assert np.var(means) == pytest.approx(1 / 320, rel=0.3)


def test_samples_of_shards_add_up_and_mixes_have_the_deviations_of_their_sources(rng):
    (one, _), (two, _) = sampled(rng, tokens=600.0), sampled(rng, tokens=400.0, sizes=(3, 3, 3, 1))
    both = one + two
    np.testing.assert_allclose(both.output_parts, one.output_parts + two.output_parts)
    assert both.sample_tokens.tolist() == [8, 7, 9, 6]
    exact = sums_of(tokens=50.0, count=np.ones(3), output_sum=np.ones((3, 2)), gated_output_sum=np.ones((3, 2)))
    mix = mixed({"a": one, "b": two, "c": exact}, {"a": 2.0, "b": 1.0, "c": 1.0})
    a, b = settled(one), settled(two)
    expected = a.output_deviations / 2 / 600 + b.output_deviations / 4 / 400
    np.testing.assert_allclose(mix.output_deviations, expected, rtol=1e-5)
    np.testing.assert_allclose(mix.output_sum, a.output_sum / 1200 + b.output_sum / 1600 + 1 / 200)
    with pytest.raises(ValueError, match="another sample alone"):
        one + exact
    with pytest.raises(ValueError, match="two of its blocks"):
        settled(replace(one, sample_tokens=np.array([20.0, 0, 0, 0])))
