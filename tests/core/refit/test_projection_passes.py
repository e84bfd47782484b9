"""Outputs, errors and gradients of the experts that are fitted, against loops and differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.refit.projection_passes import FITTED, FitProblem, projections, routed_outputs
from ream.core.refit.sums import RefitTokens
from tests.core.layers import silu_unit
from tests.core.refit.refitting import layer_of, looped, noise, steps_of, stream_of

WHICH = [4, 1, 2]


@pytest.fixture
def case(rng):
    """(layer, y [T, H], fitted [T], problem, experts) in uneven micro-batches, one of them with held-out tokens alone.

    Expert 2 has no tokens.
    """
    layer = layer_of(rng, tokens=50, top_k=3, never=(2,))
    wanted, fitted = noise(rng, layer), torch.from_numpy(rng.random(50) < 0.7)
    fitted[13:26] = False
    problem = FitProblem(stream_of(layer, wanted, fitted, 13), WHICH, silu_unit)
    return layer, wanted.numpy(), fitted.numpy(), problem, [layer.experts[expert] for expert in WHICH]


def test_outputs_are_those_of_loops(rng):
    layer = layer_of(rng, top_k=3)
    for which in ([0, 1, 2, 3, 4, 5], [4, 1]):
        tokens = RefitTokens(layer.x, layer.routing, layer.x, torch.ones(len(layer.x), dtype=torch.bool))
        outputs = routed_outputs(tokens, [layer.experts[expert] for expert in which], which, silu_unit)
        np.testing.assert_allclose(outputs, looped(layer, layer.experts, which), rtol=1e-9, atol=1e-9)


def test_errors_are_summed_over_fitted_and_over_held_out_tokens(case):
    layer, wanted, fitted, problem, experts = case
    squares = ((wanted - looped(layer, layer.experts, WHICH)) ** 2).sum(1)
    expected = (squares[fitted].sum(), squares[~fitted].sum())
    assert problem.errors(experts) == pytest.approx(expected, rel=1e-9)


def test_gradients_are_those_of_differences(case, rng):
    layer, wanted, fitted, problem, experts = case
    [pieces] = steps_of(layer, torch.from_numpy(wanted), torch.from_numpy(fitted), 50).tokens(0)
    gradients = problem.gradients(pieces, experts)
    for name, gradient in zip(FITTED, gradients, strict=True):
        for place in range(3):
            direction = torch.from_numpy(rng.normal(size=gradient[place].shape))

            def moved(step, place=place, name=name, direction=direction):
                expert = replace(experts[place], **{name: getattr(experts[place], name) + step * direction})
                return problem.errors([*experts[:place], expert, *experts[place + 1 :]])[0]

            slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
            assert float((gradient[place] * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-6)
        assert not gradient[2].any()  # no token reaches expert 2


def test_a_batch_without_tokens_has_no_gradient(case):
    layer, wanted, _, problem, experts = case
    nothing = torch.zeros(50, dtype=torch.bool)
    [pieces] = steps_of(layer, torch.from_numpy(wanted), nothing).tokens(0)
    assert not any(gradient.any() for gradient in problem.gradients(pieces, experts))


def test_projections_are_stacked_by_name(case):
    _, _, _, _, experts = case
    stacked = projections(experts)
    assert list(stacked) == ["gate", "up", "down"]
    for name, tensor in stacked.items():
        for place, expert in enumerate(experts):
            assert torch.equal(tensor[place], getattr(expert, name))
