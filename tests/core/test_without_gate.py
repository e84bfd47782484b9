"""Experts without a gate (up, down, relu²): statistics in loops, alignment, merge, chosen neurons, refit and fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.alignment import align, neuron_features
from ream.core.composition import ALL_QUANTITIES
from ream.core.experts import expert_of, neuron_activations, parts
from ream.core.merging import merged
from ream.core.refit.coordinates import expert_coordinates
from ream.core.refit.neuron_choice import assembled
from ream.core.refit.projection_fit import FitSettings, fit_projections
from ream.core.refit.projection_passes import FitProblem, fitted_parts
from ream.core.refit.refit import RefitSettings, refit
from ream.core.statistics import LayerStatistics
from ream.models.family.activations import unit_of
from tests.core import reference
from tests.core.layers import float64, random_layer
from tests.core.refit.refitting import noise, steps_of, stream_of

UNITS = {"relu2": lambda z: max(z, 0.0) ** 2, "silu": reference.silu, "relu": lambda z: max(z, 0.0)}


def layer_of(rng, **options):
    layer = random_layer(rng, dtype=torch.float64, **options)
    return layer.with_experts(replace(layer.experts, gate=None))


def output(x, up, down, act):
    """E(x) in loops."""
    hidden = [act(reference.dot(row, x)) for row in up]
    return [reference.dot(row, hidden) for row in down]


def looped(layer, stack, act):
    """What the experts give together [T, H], in loops."""
    up, down = float64(stack.up), float64(stack.down)
    rows = []
    for t, x in enumerate(float64(layer.x)):
        total = np.zeros(len(x))
        for j, weight in zip(layer.routing.indices[t].tolist(), layer.routing.weights[t].tolist(), strict=True):
            total += weight * np.array(output(x, up[j], down[j], act))
        rows.append(total)
    return np.array(rows)


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("dense", [True, False])
def test_statistics_in_loops(rng, name, dense):
    layer, unit = layer_of(rng), unit_of(f"ungated-{name}", {})
    statistics = LayerStatistics(layer.experts, unit, ALL_QUANTITIES if dense else frozenset({"norms"}))
    statistics.update(layer.x, layer.routing)
    sums, up, down = statistics.result(), float64(layer.experts.up), float64(layer.experts.down)
    for j in range(len(up)):
        outputs = np.array([output(x, up[j], down[j], UNITS[name]) for x in float64(layer.x)])
        slots = [(t, s) for t, s in zip(*np.where(layer.routing.indices.numpy() == j), strict=True)]
        norms = [np.linalg.norm(outputs[t]) for t, _ in slots]
        weights = [float(layer.routing.weights[t, s]) for t, s in slots]
        assert sums.count[j] == len(slots)
        assert sums.norm_sum[j] == pytest.approx(sum(norms))
        assert sums.weighted_norm_sum[j] == pytest.approx(np.dot(norms, weights))
        if dense:
            np.testing.assert_allclose(sums.output_sum[j], outputs.sum(0), atol=1e-9)
            gated = float64(layer.routing.scores)[:, j] @ outputs
            np.testing.assert_allclose(sums.gated_output_sum[j], gated, rtol=1e-5, atol=1e-6)


def test_a_unit_that_writes_over_its_argument_gives_the_same():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    for name in ("relu2", "relu", "silu", "gelu"):
        unit = unit_of(f"ungated-{name}", {})
        wanted, kept = unit(x), x.clone()
        assert torch.equal(x, kept)
        torch.testing.assert_close(unit.overwrite(x.clone()), wanted)
    assert unit_of("ungated-relu2", {})(torch.tensor([-2.0, 3.0])).tolist() == [0.0, 9.0]


def test_alignment_recovers_a_shuffle_by_each_term(rng):
    layer, unit = layer_of(rng, width=7), unit_of("ungated-relu2", {})
    expert, order = layer.experts[0], torch.from_numpy(rng.permutation(7))
    shuffled = expert.permuted(order)
    assert shuffled.gate is None
    for terms in (["activations"], ["weights"], ["activations", "weights"]):
        found = align(expert, shuffled, terms, layer.x, unit)
        assert order[found].tolist() == list(range(7))


def test_the_weight_term_is_up_row_and_down_column():
    expert = expert_of({"up": torch.tensor([[3.0, 0.0]]), "down": torch.tensor([[0.0], [4.0]])})
    columns = neuron_features(expert, ["weights"], None, unit_of("ungated-relu", {}))["weights"].columns
    assert columns[:, 0].tolist() == pytest.approx([0.6, 0.0, 0.0, 0.8])


def test_merge_and_chosen_neurons_by_hand():
    first = expert_of({"up": torch.tensor([[1.0], [3.0]]), "down": torch.tensor([[5.0, 7.0]])})
    second = expert_of({"up": torch.tensor([[5.0], [3.0]]), "down": torch.tensor([[9.0, 1.0]])})
    mean = merged([first, second], [0.75, 0.25], [None, torch.tensor([1, 0])])
    assert mean.gate is None
    assert (mean.up.tolist(), mean.down.tolist()) == ([[1.5], [3.5]], [[4.0, 7.5]])
    chosen = assembled([first, second], [0.5, 0.5], np.array([1, 2]))
    assert chosen.gate is None
    assert (chosen.up.tolist(), chosen.down.tolist()) == ([[3.0], [5.0]], [[7.0, 9.0]])


def test_refit_recovers_the_down_projections_that_made_the_target(rng):
    layer, unit = layer_of(rng, tokens=200, experts=4), unit_of("ungated-relu2", {})
    wanted = replace(layer.experts, down=layer.experts.down + 0.3 * torch.ones_like(layer.experts.down))
    error = torch.from_numpy(looped(layer, wanted, UNITS["relu2"]) - looped(layer, layer.experts, UNITS["relu2"]))
    down, report = refit(stream_of(layer, error), layer.experts, unit, RefitSettings(ridge=0.0, sweeps=1, direct=4096))
    assert report.left < 1e-10
    torch.testing.assert_close(down, wanted.down.float(), rtol=1e-4, atol=1e-4)


def test_fit_of_up_and_down_reaches_a_target_near_by(rng):
    layer, unit = layer_of(rng, tokens=200, experts=3), unit_of("ungated-silu", {})
    moved = {name: tensor + 0.05 * noise_like(rng, tensor) for name, tensor in parts(layer.experts)}
    target = torch.from_numpy(looped(layer, replace(layer.experts, **moved), UNITS["silu"]))
    settings, steps = FitSettings(100, round=100, rate=0.5, last_rate=0.0), steps_of(layer, target, batch=200)
    fitted, report = fit_projections(stream_of(layer, target), steps, layer.experts, unit, range(3), settings)
    assert list(fitted) == ["up", "down"]
    assert report.fitted[-1] < 3e-3 * report.fitted[0]
    found = replace(layer.experts, **{name: tensor.double() for name, tensor in fitted.items()})
    np.testing.assert_allclose(looped(layer, found, UNITS["silu"]), target, atol=0.1)


def test_gradients_in_the_fits_coordinates_are_autograds(rng):
    layer, unit = layer_of(rng, tokens=80, experts=1, top_k=1), unit_of("ungated-silu", {})
    problem = FitProblem(stream_of(layer, noise(rng, layer)), [0], unit)
    coordinates, expert = expert_coordinates(problem, [layer.experts[0]], 0.1, 2.5)[0], layer.experts[0]
    assert list(coordinates.rows) == ["up"]
    moves = [noise_like(rng, getattr(expert, name)).requires_grad_() for name in fitted_parts(expert)]
    upstream = [noise_like(rng, move) for move in moves]
    moved = coordinates.moved(expert, moves)
    total = sum((getattr(moved, name) * w).sum() for name, w in zip(fitted_parts(expert), upstream, strict=True))
    for gradient, wanted in zip(coordinates.gradient(upstream), torch.autograd.grad(total, moves), strict=True):
        torch.testing.assert_close(gradient, wanted)
    slope = torch.sigmoid(layer.x @ expert.up.T)
    pre = layer.x @ expert.up.T
    slope = slope * (1 + pre * (1 - slope))
    curvature = (layer.routing.weights * slope).square().sum(0) * expert.down.square().sum(0)
    damped = curvature + 0.1 * curvature.mean()
    torch.testing.assert_close(coordinates.rows["up"], damped.rsqrt())
    assert neuron_activations(layer.x, expert, unit).shape == (80, 5)


def noise_like(rng, tensor):
    return torch.from_numpy(rng.normal(size=tensor.shape))
