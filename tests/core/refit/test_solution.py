"""What a solver found is measured, and undone for outputs that it made worse."""

import numpy as np
import pytest
import torch

from ream.core.refit.solution import measured_solution, penalty
from ream.core.refit.sums import CompressedExperts
from tests.core.layers import float64, silu_unit
from tests.core.refit.refitting import design, layer_of, noise, stream_of

OUTPUTS = slice(1, 4)


def test_penalty_by_hand():
    # Output 0: 2 · (1² + 2²) + 3 · (1² + 0²) = 13. Output 1: 2 · (0 + 3²) + 3 · (1 + 1) = 24.
    change = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    assert penalty(change, torch.tensor([2.0, 3.0], dtype=torch.float64)).tolist() == [13.0, 24.0]


@pytest.mark.parametrize("broken", [100.0, float("nan")])
def test_worse_outputs_keep_their_weights_and_errors_are_measured(rng, broken):
    layer = layer_of(rng, tokens=60, top_k=3)
    error, fitted = noise(rng, layer), torch.from_numpy(rng.random(60) < 0.7)
    given, rows = float64(error[:, OUTPUTS]), fitted.numpy()
    matrix = design(layer)
    best = np.linalg.lstsq(matrix[rows], given[rows], rcond=None)[0].reshape(6, 5, 3).transpose(0, 2, 1)
    change = torch.from_numpy(best.copy())
    change[2, 1] = broken
    ridge = torch.full((6,), 1e-9, dtype=torch.float64)
    before = torch.from_numpy((given[rows] ** 2).sum(0))
    kept, errors = measured_solution(
        stream_of(layer, error, fitted, 13), CompressedExperts(layer.experts, silu_unit), OUTPUTS, change, ridge,
        before, [7.0, 6.0], [5.0],
    )  # fmt: skip
    assert not kept[:, 1].any()
    assert torch.equal(kept[:, [0, 2]], change[:, [0, 2]])
    assert errors.reverted == 1
    left = (given - matrix @ float64(kept).transpose(0, 2, 1).reshape(30, 3)) ** 2
    assert errors.fitted == [7.0, 6.0, pytest.approx(left[rows].sum(), rel=1e-9)]
    assert errors.held_out == [5.0, pytest.approx(left[~rows].sum(), rel=1e-9)]
    assert errors.ridge == pytest.approx(1e-9 * float(kept.square().sum()), rel=1e-12)


def test_an_output_that_stays_as_it_was_is_not_counted_as_reverted(rng):
    layer = layer_of(rng, tokens=20)
    error = noise(rng, layer)
    experts, ones = CompressedExperts(layer.experts, silu_unit), torch.ones(6, dtype=torch.float64)
    change, before = torch.zeros(6, 8, 5, dtype=torch.float64), error.square().sum(0)
    _, errors = measured_solution(stream_of(layer, error), experts, slice(None), change, ones, before, [1.0], [0.0])
    assert errors.reverted == 0


@pytest.mark.parametrize(("ridge", "reverted"), [(1.0, 0), (1.0 + 1e-9, 1)])
def test_an_output_is_worse_when_the_objective_is_larger_not_the_error_alone(ridge, reverted):
    """One token with f = 1, error 1: the change 1 leaves no error, and adds the ridge to an objective of 1."""
    layer = layer_of(np.random.default_rng(0), tokens=1, experts=1, width=1, hidden=1, top_k=1)
    scale = design(layer)[0, 0]
    stream = stream_of(layer, torch.ones(1, 1, dtype=torch.float64))
    change = torch.full((1, 1, 1), 1.0 / scale, dtype=torch.float64)
    added = torch.tensor([ridge * scale**2], dtype=torch.float64)
    kept, errors = measured_solution(
        stream, CompressedExperts(layer.experts, silu_unit), slice(None), change, added,
        torch.ones(1, dtype=torch.float64) + 1e-12, [1.0], [0.0],
    )  # fmt: skip
    assert errors.reverted == reverted
    assert bool(kept.any()) is not bool(reverted)
    assert errors.fitted[-1] == pytest.approx(float(reverted), abs=1e-9)
