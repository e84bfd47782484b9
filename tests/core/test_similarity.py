import math

import numpy as np
import pytest

from ream.core.similarity import SIMILARITIES, gate_logits, gated_output, output, output_means, similarity
from tests.core import reference
from tests.core.layers import random_layer, reference_sums, sums_of


@pytest.fixture
def layer(rng):
    return random_layer(rng)


def outputs_of(layer):
    """E_j(x), [T, N, H]."""
    inputs = layer.reference_inputs()
    experts = list(zip(inputs["gate"], inputs["up"], inputs["down"], strict=True))
    return [[reference.expert_output(token, *expert) for expert in experts] for token in inputs["x"]]


def test_gate_logits_by_hand():
    # Over two tokens z_0 = (1, 0), z_1 = (0, 2), z_2 = (3, 3), normalised (1, 0), (0, 1), (1, 1) / sqrt 2.
    # D_01 = sqrt 2 is the largest; D_02 = D_12 = sqrt(2 - sqrt 2) = 0.7654; 1 - 0.7654 / 1.4142 = 0.4588.
    logits = np.array([[1.0, 0.0, 3.0], [0.0, 2.0, 3.0]])
    near = 1.0 - math.sqrt(2.0 - math.sqrt(2.0)) / math.sqrt(2.0)
    expected = [[1.0, 0.0, near], [0.0, 1.0, near], [near, near, 1.0]]
    np.testing.assert_allclose(gate_logits(sums_of(logit_gram=logits.T @ logits)), expected, atol=1e-12)


def test_outputs_by_hand():
    # Sums (3, 4), (4, 3), (-6, -8) of norms 5, 5, 10: cosines 24/25 = 0.96, -1 and -0.96; (1 + cos) / 2.
    vectors = [[3.0, 4.0], [4.0, 3.0], [-6.0, -8.0]]
    expected = [[1.0, 0.98, 0.0], [0.98, 1.0, 0.02], [0.0, 0.02, 1.0]]
    np.testing.assert_allclose(output(sums_of(output_sum=vectors)), expected, atol=1e-12)
    np.testing.assert_allclose(gated_output(sums_of(gated_output_sum=vectors)), expected, atol=1e-12)


def test_outputs_are_compared_by_the_cosine_of_means():
    # Two tokens, two experts with the same outputs (1, 0) and (0, 1): the mean of the tokens' cosines is 1 whatever
    # the gates. With gates 3/4, 1/4 and 1/4, 3/4 the means are (3, 1) and (1, 3): cosine 6/10, similarity 0.8.
    gated = np.array([[0.75, 0.25], [0.25, 0.75]])
    assert gated_output(sums_of(gated_output_sum=gated))[0, 1] == pytest.approx(0.8)


def test_gate_logits_match_loops(layer):
    expected = reference.gate_logit_similarity(layer.reference_inputs()["logits"])
    np.testing.assert_allclose(gate_logits(layer.sums()), expected, atol=1e-6)


def test_outputs_match_loops(layer):
    outputs, scores = outputs_of(layer), layer.reference_inputs()["scores"]
    np.testing.assert_allclose(output(layer.sums()), reference.cosine_of_means(outputs), atol=1e-5)
    np.testing.assert_allclose(gated_output(layer.sums()), reference.cosine_of_means(outputs, scores), atol=1e-5)
    assert np.abs(output(layer.sums()) - gated_output(layer.sums())).max() > 0.01  # so that either shows up


def test_ream_similarity_is_the_mean_of_the_two(layer):
    gates = np.array(reference.gate_logit_similarity(layer.reference_inputs()["logits"]))
    gated = np.array(reference.cosine_of_means(outputs_of(layer), layer.reference_inputs()["scores"]))
    actual = similarity(["gate-logits", "gated-output"], layer.sums())
    np.testing.assert_allclose(actual, (gates + gated) / 2.0, atol=1e-5)


def test_one_kind_is_itself(layer):
    for kind, function in SIMILARITIES.items():
        np.testing.assert_array_equal(similarity([kind], layer.sums()), function(layer.sums()))


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_invariants(rng, layer, kind):
    sums = layer.sums()
    values = SIMILARITIES[kind](sums)
    np.testing.assert_allclose(values, values.T, atol=1e-12)
    assert np.diagonal(values).tolist() == [1.0] * 6
    assert values.min() >= 0.0
    assert values.max() <= 1.0
    np.testing.assert_allclose(SIMILARITIES[kind](sums.scaled(0.01)), values, atol=1e-7)  # sums or means alike
    order = rng.permutation(6)
    renamed = sums_of(
        output_sum=sums.output_sum[order],
        gated_output_sum=sums.gated_output_sum[order],
        logit_gram=sums.logit_gram[np.ix_(order, order)],
    )
    np.testing.assert_allclose(SIMILARITIES[kind](renamed), values[np.ix_(order, order)], atol=1e-7)


def test_the_least_similar_gate_logits_have_similarity_zero(layer):
    assert gate_logits(layer.sums()).min() == 0.0


# sqrt(2) · sqrt(2) is more than 2 in float64, so a cosine may come out as 1 - 2e-16 and a distance as 2e-8.
@pytest.mark.parametrize("value", [1e-9, 0.1, 1.0, 2.0, 3.0, 5.0, 7.0, 1e9])
def test_equal_logits_are_similar(value):
    assert gate_logits(sums_of(logit_gram=np.full((4, 4), value))).tolist() == np.ones((4, 4)).tolist()


def test_parallel_logits_are_similar(rng):
    logits = rng.normal(size=(50, 1)) * rng.uniform(0.5, 2.0, size=(1, 5))
    assert gate_logits(sums_of(logit_gram=logits.T @ logits)).tolist() == np.ones((5, 5)).tolist()


def test_rounding_leaves_outputs_within_zero_and_one(rng):
    # The cosine of parallel vectors may come out as 1 + 2e-16.
    for _ in range(20):
        vector = rng.normal(size=16)
        values = output(sums_of(output_sum=[vector, 3.0 * vector, -vector, -0.7 * vector]))
        assert values.min() >= 0.0
        assert values.max() <= 1.0
        np.testing.assert_allclose(values, np.kron(np.eye(2), np.ones((2, 2))), atol=1e-12)


def test_zero_logits_stand_at_right_angles_to_all():
    # z_0 = 0 has cosine 0, so D = sqrt 2, with (1, 0) and (1, 1); these have D = sqrt(2 - sqrt 2).
    logits = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    near = 1.0 - math.sqrt(2.0 - math.sqrt(2.0)) / math.sqrt(2.0)
    expected = [[1.0, 0.0, 0.0], [0.0, 1.0, near], [0.0, near, 1.0]]
    np.testing.assert_allclose(gate_logits(sums_of(logit_gram=logits.T @ logits)), expected, atol=1e-12)


def test_zero_outputs_are_half_similar_to_all_and_wholly_to_themselves():
    values = output(sums_of(output_sum=[[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    assert values.tolist() == [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]


def test_one_expert_is_similar_to_itself():
    for function in SIMILARITIES.values():
        assert function(sums_of(logit_gram=[[4.0]])).tolist() == [[1.0]]


def test_output_means_are_per_token(layer):
    inputs = layer.reference_inputs()
    sums = reference_sums(reference.statistics(**inputs))
    outputs = np.array(outputs_of(layer))
    np.testing.assert_allclose(output_means("output", sums), outputs.mean(axis=0), rtol=1e-10, atol=1e-12)
    gated = (outputs * inputs["scores"][:, :, None]).mean(axis=0)
    np.testing.assert_allclose(output_means("gated-output", sums), gated, rtol=1e-10, atol=1e-12)
