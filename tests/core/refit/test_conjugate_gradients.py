"""Sweeps of conjugate gradients, and the blocks that precondition them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.refit.conjugate_gradients import DEFINITE, block_factors, solved_by_sweeps
from ream.core.refit.sums import CompressedExperts, normal_sums
from tests.core.layers import float64, silu_unit
from tests.core.refit.refitting import design, layer_of, noise, stream_of
from tests.core.refit.test_refit import EXACT, refitted


def test_every_sweep_lessens_the_objective_and_the_tolerance_ends_them(rng):
    layer = layer_of(rng, top_k=5, experts=8, tokens=300)
    error = noise(rng, layer)
    runs = [refitted(layer, error, settings=replace(EXACT, sweeps=sweeps))[1] for sweeps in range(1, 9)]
    totals = [runs[0].fitted[0], *(report.fitted[-1] + report.ridge for report in runs)]
    assert (np.diff(totals) < 0).all()
    for report in runs:  # the recurrence on the way is what a run that ends there measures
        assert report.fitted[1:] == pytest.approx([run.fitted[-1] for run in runs[: len(report.fitted) - 1]], rel=1e-9)
    short = refitted(layer, error, settings=replace(EXACT, tolerance=1e-3))[1]
    gains = -np.diff(totals) / totals[0]
    assert len(short.fitted) - 2 == np.flatnonzero(gains <= 1e-3)[0]


def preconditioned_loops(matrix, error, ridge, blocks, sweeps):
    """Textbook conjugate gradients on (A + ridge) X = B for one output, with the inverse of the blocks."""
    gradient = matrix.T @ error
    change = np.zeros_like(gradient)
    conditioned = np.linalg.solve(blocks, gradient)
    direction, slope = conditioned, gradient @ conditioned
    for _ in range(sweeps):
        product = matrix.T @ (matrix @ direction) + ridge * direction
        length = slope / (direction @ product)
        change, gradient = change + length * direction, gradient - length * product
        conditioned = np.linalg.solve(blocks, gradient)
        direction, slope = conditioned + gradient @ conditioned / slope * direction, gradient @ conditioned
    return change


@pytest.mark.parametrize("sweeps", [1, 2, 3])
def test_a_few_sweeps_are_those_of_textbook_conjugate_gradients(rng, sweeps):
    layer = layer_of(rng, tokens=120, top_k=3)
    error, outputs = noise(rng, layer), slice(2, 5)
    experts, stream = CompressedExperts(layer.experts, silu_unit), stream_of(layer, error)
    gram = normal_sums(stream, experts).gram
    ridge = torch.linspace(0.1, 2.0, 6, dtype=torch.float64)
    factors = block_factors(gram, ridge)
    change, errors = solved_by_sweeps(stream, experts, outputs, ridge, factors, sweeps, 0.0)
    blocks = torch.block_diag(*(factors @ factors.mT)).numpy()
    for position, output in enumerate(range(2, 5)):
        wanted = preconditioned_loops(
            design(layer), float64(error[:, output]), np.repeat(ridge.numpy(), 5), blocks, sweeps
        )
        np.testing.assert_allclose(change[:, position].reshape(-1), wanted, rtol=1e-7, atol=1e-10)
    assert len(errors.fitted) == len(errors.held_out) == sweeps + 1


def test_an_output_stops_where_only_rounding_is_left_to_gain(rng):
    """One expert: its block preconditions almost exactly, so a few sweeps solve it, and further ones follow noise."""
    layer = layer_of(rng, tokens=60, experts=1, top_k=1)
    error = noise(rng, layer)
    error[:, 1] = 0.0  # nothing to gain from the start
    experts, stream = CompressedExperts(layer.experts, silu_unit), stream_of(layer, error)
    ridge = torch.tensor([0.1], dtype=torch.float64)
    factors = block_factors(normal_sums(stream, experts).gram, ridge)

    def solved(sweeps):
        return solved_by_sweeps(stream, experts, slice(0, 3), ridge, factors, sweeps, 0.0)

    change, errors = solved(50)
    sweeps = len(errors.fitted) - 1
    assert sweeps <= 5
    shorter, errors_before = solved(sweeps - 1)
    assert torch.equal(change, shorter)
    assert errors.fitted[-1] == errors_before.fitted[-1]
    assert not change[:, 1].any()
    assert change[:, 0].any()
    assert errors.reverted == 0


def test_factors_are_of_the_blocks_with_what_makes_them_definite(rng):
    roots = torch.from_numpy(rng.normal(size=(3, 4, 2)))
    gram = roots @ roots.mT  # rank 2 of 4
    gram[1] = 0.0  # an expert without tokens
    ridge = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
    factors = block_factors(gram, ridge)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)
    eye = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(factors[0] @ factors[0].T, gram[0] + (0.5 + DEFINITE * trace[0]) * eye)
    torch.testing.assert_close(factors[1], eye)
    torch.testing.assert_close(factors[2] @ factors[2].T, gram[2] + DEFINITE * trace[2] * eye)
    assert torch.equal(factors, factors.tril())


def test_a_block_that_rounding_made_indefinite_gets_the_roots_of_its_diagonal():
    # Eigenvalues 3 and −1: no factor. What is added is 5e-7 of the trace.
    gram = torch.tensor([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 0.0], [0.0, 9.0]]], dtype=torch.float64)
    factors = block_factors(gram, torch.zeros(2, dtype=torch.float64))
    np.testing.assert_allclose(factors[0], np.eye(2) * np.sqrt(1 + 2 * DEFINITE), rtol=1e-12)
    np.testing.assert_allclose(factors[1], np.diag(np.sqrt([4 + 13 * DEFINITE, 9 + 13 * DEFINITE])), rtol=1e-12)
