"""The coordinates of the fit: the curvature in them, and that gradients follow the moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.experts import ExpertStack, neuron_activations, parts
from ream.core.refit.coordinates import TINY, Coordinates, expert_coordinates
from ream.core.refit.projection_passes import FITTED, FitProblem
from tests.core.layers import random_expert, silu_unit
from tests.core.refit.refitting import layer_of, stream_of

GATED = {"gate_bias": 5, "up_bias": 5, "down_bias": 8, "input_gate": 8}


def coordinates_of(layer, which, fitted=None, damping=0.0, scale=1.0, batch=64):
    problem = FitProblem(stream_of(layer, layer.x, fitted, batch), which, silu_unit)
    return expert_coordinates(problem, [layer.experts[expert] for expert in which], damping, scale)


@pytest.mark.parametrize("extra", [False, True], ids=["plain", "biases and input gate"])
def test_factors_whiten_inputs_and_features_and_scales_are_inverse_slopes(rng, extra):
    """Of the fitted tokens that are routed to the expert, by autograd."""
    layer = layer_of(rng, tokens=80, experts=2, top_k=1)
    if extra:
        more = {name: torch.from_numpy(rng.normal(size=(2, size))) for name, size in GATED.items()}
        layer = layer.with_experts(ExpertStack(**dict(parts(layer.experts)), **more))
    fitted = torch.from_numpy(rng.random(80) < 0.8)
    coordinates = coordinates_of(layer, [1], fitted, batch=13)[0]
    expert = layer.experts[1]
    mine = (layer.routing.indices[:, 0] == 1) & fitted
    x, weights = layer.x[mine], layer.routing.weights[mine]
    features = weights * neuron_activations(x, expert, silu_unit)
    # Down: output = V M⁻¹ f, so the matrix is M⁻¹ (sum of f f^T) M⁻ᵀ.
    white = coordinates.hidden @ features.T @ features @ coordinates.hidden.T
    torch.testing.assert_close(white, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-8)
    # Inputs: the mean of L⁻¹ x x^T L⁻ᵀ.
    scaled = x if expert.input_gate is None else x * torch.sigmoid(x @ expert.input_gate)[:, None]
    white = coordinates.inputs @ scaled.T @ scaled @ coordinates.inputs.T / len(x)
    torch.testing.assert_close(white, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-5)
    for name, position in (("gate", 0), ("up", 1)):
        bias = [torch.zeros(()), torch.zeros(())] if not extra else [expert.gate_bias, expert.up_bias]
        pre = [(scaled @ expert.gate.T + bias[0]).requires_grad_(), (scaled @ expert.up.T + bias[1]).requires_grad_()]
        slope = torch.autograd.grad(silu_unit(*pre).sum(), pre)[position]
        curvature = (weights * slope).square().sum(0) * expert.down.square().sum(0)
        # The sigmoid of the input gate is in float32.
        torch.testing.assert_close(coordinates.rows[name], curvature.rsqrt(), rtol=1e-6, atol=0)
    assert coordinates.used


def test_damping_is_a_fraction_of_the_mean_diagonal(rng):
    layer = layer_of(rng, tokens=80, experts=1, top_k=1)
    plain, damped = (coordinates_of(layer, [0], damping=damping)[0] for damping in (0.0, 0.1))
    for name in ("inputs", "hidden"):
        exact, more = (torch.linalg.inv(getattr(coordinates, name)) for coordinates in (plain, damped))
        matrix, wanted = exact @ exact.T, more @ more.T
        added = 0.1 * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)
        torch.testing.assert_close(wanted, matrix + added, rtol=1e-6, atol=1e-9)
    for name in ("gate", "up"):
        curvature = plain.rows[name] ** -2
        torch.testing.assert_close(damped.rows[name] ** -2, curvature + 0.1 * curvature.mean())


def test_moves_by_hand():
    # H = D = 1: gate 1 + 3 · 2 · (5 · 7), up 2 + 3 · 4 · (6 · 7), down 3 + 3 · 8 · 11.
    expert = replace(
        random_expert(np.random.default_rng(0), 1, 1),
        **{name: torch.tensor([[value]]) for name, value in (("gate", 1.0), ("up", 2.0), ("down", 3.0))},
    )
    rows = {"gate": torch.tensor([2.0]), "up": torch.tensor([4.0])}
    coordinates = Coordinates(torch.tensor([[7.0]]), torch.tensor([[11.0]]), rows, True, 3.0)
    moved = coordinates.moved(expert, [torch.tensor([[value]]) for value in (5.0, 6.0, 8.0)])
    assert [getattr(moved, name).item() for name in FITTED] == [211.0, 506.0, 267.0]


def test_gradients_follow_the_moves(rng):
    """The gradient with respect to V is autograd's through `moved`, for factors that are not symmetric."""
    layer = layer_of(rng, tokens=80, experts=1, top_k=1)
    coordinates, expert = coordinates_of(layer, [0], damping=0.1, scale=2.5)[0], layer.experts[0]
    assert coordinates.scale == 2.5
    moves = [
        torch.from_numpy(rng.normal(size=getattr(expert, name).shape)).requires_grad_() for name in FITTED
    ]  # fmt: skip
    upstream = [torch.from_numpy(rng.normal(size=move.shape)) for move in moves]
    moved = coordinates.moved(expert, moves)
    total = sum((getattr(moved, name) * weight).sum() for name, weight in zip(FITTED, upstream, strict=True))
    for gradient, wanted in zip(coordinates.gradient(upstream), torch.autograd.grad(total, moves), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_an_expert_without_fitted_tokens_does_not_move(rng):
    layer = layer_of(rng, never=(2,))
    unused, other = coordinates_of(layer, [2, 3], damping=0.1)
    assert (unused.used, other.used) == (False, True)
    expert, ones = layer.experts[2], [torch.ones_like(getattr(layer.experts[2], name)) for name in FITTED]
    assert unused.moved(expert, ones) is expert
    assert not any(gradient.any() for gradient in unused.gradient(ones))
    assert all(torch.isfinite(tensor).all() for tensor in (unused.inputs, unused.hidden, *unused.rows.values()))
    assert unused.rows["gate"].tolist() == pytest.approx([TINY**-0.5] * 5)


def test_experts_with_few_tokens_move_less(rng):
    """By the square root of their tokens, of the experts that have any."""
    layer = layer_of(rng, never=(2,))
    tokens = torch.bincount(layer.routing.indices.flatten(), minlength=6).double()
    mean = tokens.sum() / 5
    for expert, coordinates in enumerate(coordinates_of(layer, range(6), scale=2.5)):
        assert coordinates.scale == pytest.approx(2.5 * float((tokens[expert] / mean).sqrt()))


def test_micro_batches_add_up(rng):
    layer = layer_of(rng, tokens=60, top_k=2)
    for one, many in zip(*(coordinates_of(layer, [0, 3], damping=0.1, batch=batch) for batch in (60, 7)), strict=True):
        pairs = [(one.inputs, many.inputs), (one.hidden, many.hidden)]
        for mine, other in [*pairs, *((one.rows[name], many.rows[name]) for name in ("gate", "up"))]:
            torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-10)
