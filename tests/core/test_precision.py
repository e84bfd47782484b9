"""Standard errors of similarities, against many samples."""

from dataclasses import replace

import numpy as np
import pytest

from ream.core.grouping import Groups
from ream.core.precision import compared, is_sampled, moved, standard_errors
from ream.core.similarity import similarity
from ream.core.sums import settled
from tests.core.layers import sums_of

EXPERTS, HIDDEN, BLOCK, BLOCKS = 5, 6, 25, 16


def population(rng, tokens=4000):
    """Outputs [T, N, H] whose coordinates and experts vary together, as outputs on the same tokens do."""
    common = rng.normal(size=(tokens, 1, HIDDEN)) @ rng.normal(size=(HIDDEN, HIDDEN))
    own = rng.normal(size=(tokens, EXPERTS, HIDDEN)) @ rng.normal(size=(HIDDEN, HIDDEN))
    return 0.7 * common + own + rng.normal(size=(1, EXPERTS, HIDDEN))


def sample_of(outputs, rng):
    """Settled sums of 16 blocks of 25 tokens by lot."""
    chosen = outputs[rng.permutation(len(outputs))[: BLOCK * BLOCKS]].reshape(BLOCKS, BLOCK, EXPERTS, HIDDEN)
    unknown = np.full((EXPERTS, HIDDEN), np.nan)
    sums = sums_of(tokens=len(outputs), count=np.ones(EXPERTS), output_sum=unknown, gated_output_sum=unknown)
    parts = chosen.sum(axis=1)
    return settled(replace(sums, sample_tokens=np.full(BLOCKS, 25.0), output_parts=parts, gated_output_parts=parts))


@pytest.mark.slow
def test_standard_errors_are_how_similarities_of_samples_vary(rng):
    outputs = population(rng)
    kinds = ["gate-logits", "gated-output"]
    samples = [sample_of(outputs, rng) for _ in range(300)]
    found = np.stack([similarity(kinds, sums) for sums in samples]).std(axis=0)
    told = np.sqrt(np.mean([standard_errors(kinds, sums) ** 2 for sums in samples], axis=0))
    pairs = ~np.eye(EXPERTS, dtype=bool)
    np.testing.assert_allclose(told[pairs], found[pairs], rtol=0.3)
    assert not told[~pairs].any()
    assert found[pairs].min() > 1e-3


def test_draws_vary_as_samples_do(rng):
    sums = sample_of(population(rng), rng)
    drawn = np.stack([moved(sums, rng.standard_normal(BLOCKS)).output_sum for _ in range(2000)])
    expected = np.sqrt((sums.output_deviations.astype(float) ** 2).sum(axis=0))
    np.testing.assert_allclose(drawn.std(axis=0), expected, rtol=0.1)
    np.testing.assert_allclose(drawn.mean(axis=0), sums.output_sum, atol=4 * expected.max() / np.sqrt(2000))


def test_without_a_sample_nothing_is_uncertain():
    sums = sums_of(count=np.ones(3), logit_gram=np.eye(3))
    assert not is_sampled(sums)
    assert not standard_errors(["gate-logits", "output"], sums).any()


def test_pairs_that_decide():
    pairs = compared(Groups(np.array([0, 2]), np.array([0, 0, 1, 1])))
    assert np.argwhere(pairs).tolist() == [[0, 1], [0, 3], [2, 1], [2, 3]]


@pytest.mark.parametrize("kind", ["output", "gated-output"])
def test_one_kind_alone(kind, rng):
    sums = sample_of(population(rng), rng)
    other = {"output": "gated_output_deviations", "gated-output": "output_deviations"}[kind]
    assert standard_errors([kind], replace(sums, **{other: None})).max() > 0
