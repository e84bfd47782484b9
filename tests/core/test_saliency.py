from dataclasses import replace

import numpy as np
import pytest

from ream.core.saliency import SALIENCIES, available, ean, energy, frequency, man, msan, raised, ranked, reap, released
from tests.core import reference
from tests.core.layers import random_layer, reference_sums, sums_of


def test_frequency_is_the_count():
    assert frequency(sums_of(count=[3.0, 0.0, 5.0])).tolist() == [3.0, 0.0, 5.0]


def test_ean_is_the_sum_of_norms():
    # Not divided by the count: an expert used twice as often counts twice.
    assert ean(sums_of(norm_sum=[6.0, 2.0], count=[3.0, 1.0])).tolist() == [6.0, 2.0]


def test_reap_by_hand():
    # Expert 0: two tokens with g‖E‖ = 1 and 2: 3 / 2. Expert 1: one token, 4. Expert 2: never used, 0.
    sums = sums_of(weighted_norm_sum=[3.0, 4.0, 0.0], count=[2.0, 1.0, 0.0])
    assert reap(sums).tolist() == [1.5, 4.0, 0.0]


def test_released_by_hand():
    # One token with softmax 1/2 and ‖E‖ = 8, one with 1/4 and 16: (8/4 + 16/16) / 2 = 1.5. Expert 1: never used, 0.
    sums = sums_of(released_norm_sum=[8 * 0.5**2 + 16 * 0.25**2, 0.0], count=[2.0, 0.0], weighted_norm_sum=[9.0, 9.0])
    assert released(sums).tolist() == [1.5, 0.0]


@pytest.mark.parametrize("kind", ["frequency", "ean", "reap", "released", "man", "msan", "energy"])
@pytest.mark.parametrize("router", [{}, {"scores": "sigmoid", "scale": 2.5}], ids=["softmax", "sigmoid"])
def test_matches_loops_from_the_tokens(rng, kind, router):
    layer = random_layer(rng, never=[3], **router)
    expected = reference.saliency(kind, reference.statistics(**layer.reference_inputs()))
    actual = SALIENCIES[kind](layer.sums())
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert actual[3] == 0.0


def test_released_uses_the_squared_softmax_of_all_logits_whatever_the_router(rng):
    layer = random_layer(rng, scores="sigmoid", scale=2.5)
    inputs = layer.reference_inputs()
    total, count = np.zeros(6), np.zeros(6)
    for t, chosen in enumerate(inputs["indices"]):
        exponentials = np.exp(inputs["logits"][t])
        for j in chosen:
            output = reference.expert_output(inputs["x"][t], inputs["gate"][j], inputs["up"][j], inputs["down"][j])
            total[j] += (exponentials[j] / exponentials.sum()) ** 2 * np.linalg.norm(output)
            count[j] += 1
    assert (count > 0).all()
    np.testing.assert_allclose(released(layer.sums()), total / count, rtol=1e-5)


def test_man_and_msan_by_hand():
    # Expert 0: norms 1 and 3: means 2 and (1 + 9) / 2. Expert 1: never used, 0.
    sums = replace(sums_of(norm_sum=[4.0, 0.0], count=[2.0, 0.0]), squared_norm_sum=np.array([10.0, 0.0]))
    assert man(sums).tolist() == [2.0, 0.0]
    assert msan(sums).tolist() == [5.0, 0.0]


def test_energy_by_hand():
    # Expert 0: g‖E‖ = 1 and 3 on two tokens: 1 + 9. Expert 1: 2 on one of them. Products of two experts do not count.
    sums = replace(sums_of(count=[2.0, 1.0]), pair_sum=np.array([[10.0, 6.0], [6.0, 4.0]]))
    assert energy(sums).tolist() == [10.0, 4.0]


def test_a_saliency_without_its_sums_is_refused_and_not_available():
    sums = sums_of(count=[1.0])
    with pytest.raises(ValueError, match="squared norms"):
        msan(sums)
    assert set(available(sums)) == set(SALIENCIES) - {"msan", "released-batches", "energy"}
    with pytest.raises(ValueError, match="pairs"):
        energy(sums)


@pytest.mark.parametrize(
    ("saliency", "expected"),
    [
        ([0.0, 2.0, 0.25, 0.0], [0.25, 2.0, 0.25, 0.25]),
        ([0.0, 2.0, 3.0], [0.5, 2.0, 3.0]),  # no higher than a half
        ([1.0, 0.1], [1.0, 0.1]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_zeros_are_raised_to_the_smallest_other_or_a_half(saliency, expected):
    given = np.array(saliency)
    assert raised(given).tolist() == expected == reference.raised(saliency)
    assert given.tolist() == saliency


@pytest.mark.parametrize("kind", ["reap", "released"])
def test_means_do_not_depend_on_the_number_of_tokens(rng, kind):
    sums = reference_sums(reference.statistics(**random_layer(rng).reference_inputs()))
    np.testing.assert_allclose(SALIENCIES[kind](sums.scaled(1 / 17)), SALIENCIES[kind](sums), rtol=1e-12)


def test_ranked_gives_ties_to_the_lower_index():
    assert ranked(np.array([1.0, 3.0, 1.0, 3.0, 0.0, 2.0])).tolist() == [1, 3, 5, 0, 2, 4]
    assert ranked(np.zeros(40)).tolist() == list(range(40))


def test_ranked_matches_loops(rng):
    for _ in range(20):
        values = rng.integers(0, 4, size=30).astype(float)
        assert ranked(values).tolist() == reference.ranked(values)
