"""Passes over the tokens against the dense design matrix."""

import numpy as np
import pytest
import torch

from ream.core.refit.sums import CompressedExperts, error_sums, gram_product, normal_sums, squared_errors
from tests.core.layers import float64, silu_unit
from tests.core.refit.refitting import design, layer_of, noise, stream_of

OUTPUTS = slice(2, 5)


@pytest.fixture
def case(rng):
    """(stream, experts, fitted [T], design matrix [T, K, D], errors of the outputs [T, O]); expert 2 has no tokens."""
    layer = layer_of(rng, tokens=60, top_k=3, never=[2])
    error, fitted = noise(rng, layer), torch.from_numpy(rng.random(60) < 0.7)
    stream = stream_of(layer, error, fitted, batch=13)
    matrix = design(layer).reshape(60, 6, 5)
    return stream, CompressedExperts(layer.experts, silu_unit), fitted.numpy(), matrix, float64(error[:, OUTPUTS])


def random_change(rng):
    return torch.from_numpy(rng.normal(size=(6, 3, 5)))


def test_normal_sums(case):
    stream, experts, fitted, matrix, _ = case
    sums = normal_sums(stream, experts)
    np.testing.assert_allclose(sums.gram, np.einsum("tjd,tje->jde", matrix[fitted], matrix[fitted]), atol=1e-12)
    assert np.array_equal(sums.count, (np.abs(matrix[fitted]).sum(2) > 0).sum(0))
    assert sums.count[2] == 0 < sums.count[1]
    assert (sums.fitted_tokens, sums.held_out_tokens) == (fitted.sum(), (~fitted).sum())


def test_error_sums(case):
    stream, experts, fitted, matrix, error = case
    products, squares, held_out = error_sums(stream, experts, OUTPUTS)
    np.testing.assert_allclose(products, np.einsum("to,tjd->jod", error[fitted], matrix[fitted]), atol=1e-12)
    np.testing.assert_allclose(squares, (error[fitted] ** 2).sum(0))
    assert held_out == pytest.approx((error[~fitted] ** 2).sum())


def test_gram_product_has_all_cross_terms(case, rng):
    stream, experts, fitted, matrix, error = case
    direction, change = random_change(rng), random_change(rng)
    product, held_out = gram_product(stream, experts, direction, change, OUTPUTS)
    gram = np.einsum("tid,tje->idje", matrix[fitted], matrix[fitted])
    np.testing.assert_allclose(product, np.einsum("iod,idje->joe", direction, gram), atol=1e-11)
    lacking = error - np.einsum("jod,tjd->to", change, matrix)
    assert held_out == pytest.approx((lacking[~fitted] ** 2).sum())


def test_squared_errors(case, rng):
    stream, experts, fitted, matrix, error = case
    change = random_change(rng)
    squares, held_out = squared_errors(stream, experts, change, OUTPUTS)
    lacking = error - np.einsum("jod,tjd->to", change, matrix)
    np.testing.assert_allclose(squares, (lacking[fitted] ** 2).sum(0))
    assert held_out == pytest.approx((lacking[~fitted] ** 2).sum())


def test_totals_are_float64_whatever_the_tokens_are_in(rng):
    layer = layer_of(rng, tokens=30, dtype=torch.bfloat16)
    sums = normal_sums(stream_of(layer, noise(rng, layer)), CompressedExperts(layer.experts, silu_unit))
    assert sums.gram.dtype == torch.float64
    wanted = np.einsum("tjd,tje->jde", *[design(layer).reshape(30, 6, 5)] * 2)
    np.testing.assert_allclose(sums.gram, wanted, rtol=0, atol=2e-2 * np.abs(wanted).max())
