"""The refit at once against one dense least-squares solve, and against conjugate gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.experts import ExpertStack
from ream.core.refit.direct import full_sums, solved
from ream.core.refit.refit import refit
from ream.core.refit.sums import CompressedExperts
from tests.core.layers import silu_unit
from tests.core.refit.refitting import design, layer_of, noise, stream_of
from tests.core.refit.test_refit import EXACT, dense, left

DIRECT = replace(EXACT, direct=10_000, sweeps=1)


@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_equals_one_dense_solve_over_all_experts(rng, top_k, ridge):
    layer = layer_of(rng, top_k=top_k)
    error = noise(rng, layer)
    down, report = refit(
        stream_of(layer, error, None, 16), layer.experts, silu_unit, replace(DIRECT, ridge=ridge)
    )  # fmt: skip
    wanted = dense(layer, error, ridge)
    assert np.abs(down.numpy() - wanted).max() < 1e-6 * np.abs(wanted).max()
    assert report.fitted == pytest.approx([float(error.square().sum()), left(layer, wanted, error).sum()], rel=1e-9)
    assert (report.reverted, sum(report.tokens)) == (0, top_k * len(layer.x))


def test_sums_are_those_of_the_design_matrix(rng):
    layer = layer_of(rng)
    error = noise(rng, layer)
    fitted = torch.from_numpy(rng.random(len(layer.x)) < 0.8)
    sums = full_sums(stream_of(layer, error, fitted, 7), CompressedExperts(layer.experts, silu_unit))
    matrix, errors = design(layer)[fitted.numpy()], error[fitted].numpy()
    count, hidden, width = layer.experts.down.shape
    np.testing.assert_allclose(sums.gram.reshape(count * width, -1), matrix.T @ matrix, rtol=1e-9, atol=1e-9)
    products = (matrix.T @ errors).reshape(count, width, hidden).transpose(0, 2, 1)
    np.testing.assert_allclose(sums.products, products, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.fitted, (errors**2).sum(0), rtol=1e-9)
    assert sums.held_out == pytest.approx(float(error[~fitted].square().sum()), rel=1e-9)
    assert (sums.normal.fitted_tokens, sums.normal.held_out_tokens) == (int(fitted.sum()), int((~fitted).sum()))


def test_held_out_tokens_are_measured_and_not_fitted_to(rng):
    layer = layer_of(rng)
    error = noise(rng, layer)
    fitted = torch.from_numpy(rng.random(len(layer.x)) < 0.7)
    down, report = refit(stream_of(layer, error, fitted, 16), layer.experts, silu_unit, DIRECT)
    swept, other = refit(stream_of(layer, error, fitted, 16), layer.experts, silu_unit, EXACT)
    torch.testing.assert_close(down, swept, rtol=1e-5, atol=1e-6)
    errors = left(layer, down, error)
    assert report.held_out[-1] == pytest.approx(errors[~fitted.numpy()].sum(), rel=1e-6)
    assert report.fitted[-1] == pytest.approx(errors[fitted.numpy()].sum(), rel=1e-6)
    assert report.tokens == other.tokens


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_fewer_tokens_than_columns_and_experts_without_any(rng, ridge):
    """Singular: the fit is as good as the pseudo-inverse's, and what no token uses stays bit for bit."""
    layer = layer_of(rng, tokens=20, never=(1,))
    error = noise(rng, layer)
    down, report = refit(stream_of(layer, error, None, 16), layer.experts, silu_unit, replace(DIRECT, ridge=ridge))
    wanted = left(layer, dense(layer, error, ridge), error).sum()
    assert report.tokens[1] == 0
    assert torch.equal(down[1], layer.experts.down[1].float())
    assert report.fitted[-1] <= wanted * (1 + 1e-6) + 1e-6 * report.fitted[0]


def test_no_tokens_at_all_change_nothing(rng):
    layer = layer_of(rng)
    fitted = torch.zeros(len(layer.x), dtype=torch.bool)
    sums = full_sums(stream_of(layer, noise(rng, layer), fitted, 16), CompressedExperts(layer.experts, silu_unit))
    assert not solved(sums, torch.zeros(len(layer.experts), dtype=torch.float64)).any()


def test_an_output_that_would_be_worse_keeps_its_weights(rng, monkeypatch):
    layer = layer_of(rng)
    error = noise(rng, layer)

    def broken(sums, ridge):
        change = solved(sums, ridge)
        change[:, 2] += 100
        return change

    monkeypatch.setattr("ream.core.refit.direct.solved", broken)
    down, report = refit(stream_of(layer, error, None, 16), layer.experts, silu_unit, DIRECT)
    assert report.reverted == 1
    assert torch.equal(down[:, 2], layer.experts.down[:, 2].float())
    assert isinstance(layer.experts, ExpertStack)
    assert report.fitted[-1] == pytest.approx(left(layer, down, error).sum(), rel=1e-6)
