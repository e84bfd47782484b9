"""Refits behind a matrix: against one dense least-squares solve on the block's own output, and what stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.refit.output_coordinates import OutputCoordinates, output_coordinates
from ream.core.refit.refit import RefitSettings, refit
from tests.core.layers import float64, silu_unit
from tests.core.refit.refitting import design, layer_of, stream_of

SETTINGS = RefitSettings(ridge=0.0, sweeps=1, direct=4096)


@pytest.mark.parametrize("outputs", [8, 12, 5])  # as many as a latent input has, more, fewer
def test_equals_a_dense_solve_on_the_output_behind_the_matrix(rng, outputs):
    """min over X of sum of ‖e − P X f‖², solved for vec(X) with the Kronecker product of the design and P."""
    layer = layer_of(rng, tokens=120, experts=2, hidden=8, width=3)
    matrix = rng.normal(size=(outputs, 8))
    error = rng.normal(size=(120, outputs))
    both = np.kron(design(layer), matrix)
    change = np.linalg.lstsq(both, error.ravel(), rcond=None)[0]
    wanted = ((error.ravel() - both @ change) ** 2).sum()
    coordinates = output_coordinates(torch.from_numpy(matrix))
    reached = coordinates.errors(torch.from_numpy(error))
    down, report = refit(stream_of(layer, reached), coordinates.entered(layer.experts), silu_unit, SETTINGS)
    left = coordinates.left(down, layer.experts.down)
    moved = float64(left) - float64(layer.experts.down)
    error_left = error - (design(layer) @ moved.transpose(0, 2, 1).reshape(-1, 8)) @ matrix.T
    assert (error_left**2).sum() == pytest.approx(wanted, rel=1e-6)
    beyond = (error**2).sum() - float(reached.square().sum())
    assert report.fitted[-1] + beyond == pytest.approx(wanted, rel=1e-6)


def test_an_expert_that_does_not_move_keeps_its_weights_and_a_bias_goes_along(rng):
    layer = layer_of(rng, experts=3)
    coordinates = output_coordinates(torch.from_numpy(rng.normal(size=(11, 8))))
    bias = torch.from_numpy(rng.normal(size=(3, 8)))
    entered = coordinates.entered(replace(layer.experts, down_bias=bias))
    torch.testing.assert_close(entered.down_bias, bias @ coordinates.factor.T)
    assert torch.equal(coordinates.left(entered.down, layer.experts.down), layer.experts.down)
    assert coordinates.size(11) == 8


def test_without_a_matrix_nothing_changes(rng):
    layer, plain = layer_of(rng), output_coordinates(None)
    assert plain == OutputCoordinates()
    assert plain.entered(layer.experts) is layer.experts
    assert plain.errors(layer.x) is layer.x
    assert plain.down(layer.experts.down) is layer.experts.down
    assert plain.left(layer.x[None], layer.x[None]) is not None
    assert plain.size(7) == 7
