"""Samples of tokens."""

import pytest

from ream.core.sample import ALL_UP_TO, FIRST, MOST, Sampling, probe_positions, sampling


def test_probe_positions_are_a_seeded_sample_without_repeats():
    positions = probe_positions(1000, 50, seed=3)
    assert positions.shape == (50,)
    assert len(set(positions.tolist())) == 50
    assert positions.min() >= 0
    assert positions.max() < 1000
    assert positions.tolist() == probe_positions(1000, 50, seed=3).tolist()
    assert positions.tolist() != probe_positions(1000, 50, seed=4).tolist()


def test_any_first_part_of_the_probes_is_a_fair_sample():
    # 100 of 10 000 positions: their mean is 4999.5 with a standard deviation of 289; sorted ones would have 50.
    positions = probe_positions(10_000, 1000, seed=0)
    assert abs(positions[:100].mean() - 4999.5) < 4 * 289
    assert positions[:100].tolist() == probe_positions(10_000, 100, seed=0).tolist()


def test_probes_are_all_tokens_when_there_are_fewer():
    assert sorted(probe_positions(7, 50, seed=0).tolist()) == list(range(7))


@pytest.mark.parametrize(
    ("setting", "tokens", "alone", "expected"),
    [
        ("all", 10**9, True, None),
        ("auto", ALL_UP_TO, True, None),
        ("auto", ALL_UP_TO + 1, True, Sampling(FIRST, MOST)),
        ("auto", 10**9, False, Sampling(MOST, MOST)),
        (4096, 4096, True, None),
        (4096, 4097, True, Sampling(4096, 4096)),
        (10**6, 4097, False, None),
    ],
)
def test_how_many_tokens_are_sampled(setting, tokens, alone, expected):
    assert sampling(setting, tokens, alone) == expected
