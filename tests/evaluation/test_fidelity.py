"""Fidelity against plain loops and numpy, and its intervals."""

import math

import numpy as np
import pytest
import torch

from ream.evaluation.fidelity import sequence_sums, token_sums
from ream.evaluation.fidelity_records import KL, LOSS, ORIGINAL_LOSS, SAME, TOKENS, fidelity


def by_loops(original, other, following):
    """The five sums of `token_sums`, in loops."""
    sums = [0.0] * 5
    for p_row, q_row, target in zip(original, other, following, strict=True):
        p, q = ([math.exp(z - max(row)) for z in row] for row in (p_row, q_row))
        p, q = [value / math.fsum(p) for value in p], [value / math.fsum(q) for value in q]
        sums[KL] += math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
        sums[SAME] += p.index(max(p)) == q.index(max(q))
        sums[LOSS] -= math.log(q[target])
        sums[ORIGINAL_LOSS] -= math.log(p[target])
        sums[TOKENS] += 1
    return sums


@pytest.fixture
def logits(rng):
    original = rng.normal(size=(11, 7)) * 3
    other = original + rng.normal(size=(11, 7))
    return (
        torch.from_numpy(original).float(),
        torch.from_numpy(other).float(),
        torch.from_numpy(rng.integers(7, size=11)),
    )


def test_sums_are_those_of_plain_loops(logits):
    original, other, following = logits
    expected = by_loops(original.tolist(), other.tolist(), following.tolist())
    assert token_sums(*logits) == pytest.approx(expected, rel=1e-6)
    assert 0 < expected[SAME] < 11
    assert expected[KL] > 0.1


def test_by_hand():
    # p = (3/4, 1/4), q = (1/4, 3/4): KL = 3/4 log 3 + 1/4 log 1/3 = 1/2 log 3
    p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 3.0]]).log()
    found = token_sums(p, q, torch.tensor([1]))
    assert found == pytest.approx([0.5 * math.log(3), 0, -math.log(0.75), -math.log(0.25), 1])


def test_a_model_is_as_close_as_can_be_to_itself_and_shifted_logits_are_the_same(logits):
    original, _, following = logits
    sums = token_sums(original, original + 5, following)
    assert sums[KL] == pytest.approx(0, abs=1e-6)  # float32 rounds the shifted logits
    assert token_sums(original, original, following)[KL] == 0
    assert sums[SAME] == 11


def test_tiny_differences_are_not_lost(logits):
    original, _, following = logits
    close = original.double() + 1e-5 * torch.randn(11, 7, dtype=torch.float64)
    expected = by_loops(original.tolist(), close.tolist(), following.tolist())[KL]
    found = token_sums(original, close, following)[KL]
    assert 0 < expected < 1e-8
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_a_sequence_predicts_all_tokens_but_its_first_in_blocks_of_any_size(logits, rows):
    original, other, _ = logits
    ids = torch.tensor([3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0])
    sums = sequence_sums(lambda part: original[part], {"a": lambda part: other[part]}, ids, rows)
    assert sums["a"] == pytest.approx(token_sums(original[:-1], other[:-1], ids[1:]), rel=1e-12)
    assert sums["a"][TOKENS] == 10


def test_one_token_predicts_nothing(logits):
    original, other, _ = logits
    assert not sequence_sums(lambda part: original[part], {0: lambda part: other[part]}, torch.tensor([3]), 4)[0].any()


def sums_of(rng, sequences, kl=0.1):
    tokens = rng.integers(5, 20, size=sequences)
    means = np.stack([rng.exponential(kl, sequences), rng.random(sequences), 2 + rng.random(sequences),
                      2 + rng.random(sequences), np.ones(sequences)], axis=1)  # fmt: skip
    return means * tokens[:, None]


def test_means_are_over_tokens_and_the_ratio_is_of_perplexities(rng):
    rows = sums_of(rng, 9)
    found = fidelity({"a": rows}).sources["a"]
    total = rows.sum(axis=0)
    assert found.kl.value == pytest.approx(total[KL] / total[TOKENS])
    assert found.top_1.value == pytest.approx(100 * total[SAME] / total[TOKENS])
    assert found.perplexity_ratio.value == pytest.approx(math.exp(found.loss - found.original_loss))
    assert (found.tokens, found.sequences) == (total[TOKENS], 9)
    assert found.kl.low < found.kl.value < found.kl.high


def test_the_mean_over_sources_is_plain(rng):
    found = fidelity({"a": sums_of(rng, 9), "b": sums_of(rng, 4, kl=3)})
    one, other = (found.sources[name] for name in "ab")
    assert found.mean.kl.value == pytest.approx((one.kl.value + other.kl.value) / 2)
    assert found.mean.perplexity_ratio.value == pytest.approx(
        math.sqrt(one.perplexity_ratio.value * other.perplexity_ratio.value)
    )
    assert found.mean.sequences == 13


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    """Of sequences of one length, whose true mean KL is 0.1; 40 sequences and an exponential give about 92%."""
    rng, covered = np.random.default_rng(3), 0
    for seed in range(200):
        rows = np.ones((40, 5)) * 10
        rows[:, KL] = rng.exponential(1, 40)
        kl = fidelity({"a": rows}, seed).sources["a"].kl
        covered += kl.low <= 0.1 <= kl.high
    assert 0.86 < covered / 200 < 0.98


def test_one_sequence_has_no_interval_and_the_same_seed_gives_the_same(rng):
    rows = sums_of(rng, 1)
    assert fidelity({"a": rows}).sources["a"].kl.low is None
    many = sums_of(rng, 6)
    assert fidelity({"a": many}) == fidelity({"a": many})
    assert fidelity({"a": many}) != fidelity({"a": many}, seed=1)


def test_sequences_that_predict_nothing_do_no_harm(rng):
    rows = np.concatenate([sums_of(rng, 1), np.zeros((30, 5))])
    found = fidelity({"a": rows}).sources["a"]
    assert (found.kl.low, found.kl.high) == pytest.approx((found.kl.value, found.kl.value))
    with pytest.raises(ValueError, match="predicted tokens"):
        fidelity({"a": np.zeros((3, 5))})
