"""The fit of all projections, against scipy's least squares, a target that can be reached, and errors in loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from ream.core.experts import ExpertStack, parts
from ream.core.refit.coordinates import expert_coordinates
from ream.core.refit.projection_fit import FitSettings, fit_projections
from ream.core.refit.projection_passes import FITTED, FitProblem, routed_outputs
from ream.core.refit.sums import RefitTokens
from ream.models.family.activations import unit_of
from tests.core.layers import silu_unit
from tests.core.refit.refitting import layer_of, looped, noise, steps_of, stream_of
from tests.subsets import some_slow

EXACT = {"iterations": 100, "round": 100, "rate": 0.5, "last_rate": 0.0}  # one step a pass, for few tokens


def disturbed(rng, stack, scale):
    """The stack with noise on all projections."""
    return replace(
        stack,
        **{name: tensor + scale * torch.from_numpy(rng.normal(size=tensor.shape)) for name, tensor in parts(stack)},
    )


def fitted(layer, wanted, mask=None, which=None, batch=64, step=20, **settings):
    which = range(len(layer.experts)) if which is None else which
    wanted = torch.as_tensor(wanted)
    stream, steps = stream_of(layer, wanted, mask, batch), steps_of(layer, wanted, mask, step)
    fitted_projections, report = fit_projections(
        stream, steps, layer.experts, silu_unit, which, FitSettings(**settings)
    )  # fmt: skip
    stack = replace(layer.experts, **{name: getattr(layer.experts, name).clone() for name in FITTED})
    for name in FITTED:
        getattr(stack, name)[list(which)] = fitted_projections[name].to(layer.x.dtype)
    return stack, report


def test_a_target_that_can_be_reached_is_reached(rng):
    layer = layer_of(rng, tokens=150)
    wanted = looped(layer, disturbed(rng, layer.experts, 0.05), range(6))
    stack, report = fitted(layer, wanted, **EXACT, step=150)
    assert report.fitted[-1] < 3e-3 * report.fitted[0]
    np.testing.assert_allclose(looped(layer, stack, range(6)), wanted, atol=0.1)


def test_a_target_that_cannot_be_reached_is_fitted_as_well_as_by_scipys_least_squares(rng):
    layer = layer_of(rng, tokens=30, experts=2, hidden=3, width=2, top_k=1)
    wanted = looped(layer, layer.experts, range(2)) + 0.1 * rng.normal(size=layer.x.shape)
    start = torch.cat([getattr(layer.experts, name).flatten() for name in FITTED]).numpy()

    def residual(flat):
        pieces = np.split(flat, np.cumsum([getattr(layer.experts, name).numel() for name in FITTED])[:-1])
        shaped = {
            name: torch.from_numpy(piece).reshape(getattr(layer.experts, name).shape)
            for name, piece in zip(FITTED, pieces, strict=True)
        }
        return (wanted - looped(layer, ExpertStack(**shaped), range(2))).ravel()

    best = 2 * least_squares(residual, start, max_nfev=30).cost
    _, report = fitted(layer, wanted, iterations=400, round=400, rate=0.5, last_rate=0.0, step=30)
    assert report.fitted[0] == pytest.approx((residual(start) ** 2).sum(), rel=1e-9)
    assert report.fitted[-1] <= 1.02 * best


def test_settings_unless_said_otherwise():
    """docs/refit.md, "The fit of all projections": rounds of two passes, 0.1 of the mean diagonal."""
    assert FitSettings(30) == FitSettings(iterations=30, round=2, rate=0.2, last_rate=0.1, damping=0.1)


@pytest.mark.parametrize(
    ("iterations", "round_", "rounds"), some_slow([(4, 4, 1), (4, 2, 2), (5, 2, 3)], keep=[(5, 2, 3)])
)
def test_an_iteration_takes_one_pass(rng, iterations, round_, rounds):
    """Two passes at the beginning, one to measure each round, and those of the iterations, each in its own order."""
    layer, passes = layer_of(rng), []
    wanted = torch.from_numpy(looped(layer, disturbed(rng, layer.experts, 0.2), range(6)))
    stream, steps, numbers = stream_of(layer, wanted), steps_of(layer, wanted), []

    def counted():
        passes.append(None)
        return stream()

    def numbered(number):
        numbers.append(number)
        return steps.tokens(number)

    settings = FitSettings(iterations, round=round_)
    noted = replace(steps, tokens=numbered)
    _, report = fit_projections(counted, noted, layer.experts, silu_unit, range(6), settings)
    assert len(report.fitted) == 1 + rounds
    assert len(passes) == 2 + rounds
    assert numbers == list(range(iterations))


def test_steps_and_their_mean_by_hand(rng):
    """Adam in the coordinates with a rate that falls, and the mean of the last pass, in a loop over single numbers."""
    layer = layer_of(rng, tokens=40, experts=1, hidden=3, width=2, top_k=1)
    wanted = torch.from_numpy(looped(layer, disturbed(rng, layer.experts, 0.3), range(1)))
    settings = FitSettings(3, round=3, rate=0.1, last_rate=0.25)
    stream, steps = stream_of(layer, wanted), steps_of(layer, wanted, batch=10)
    found, _ = fit_projections(stream, steps, layer.experts, silu_unit, [0], settings)
    problem, start = FitProblem(stream, [0], silu_unit), [layer.experts[0]]
    error = problem.errors(start)[0]
    [coordinates] = expert_coordinates(problem, start, 0.1, error**0.5)
    moves = [torch.zeros_like(getattr(layer.experts[0], name)) for name in FITTED]
    first, second, mean = ([torch.zeros_like(move) for move in moves] for _ in range(3))
    rate, taken = 0.1 / np.sqrt(3 * 2 * 3), 0
    for number in range(3):
        for pieces in steps.tokens(number):
            gradients = problem.gradients(pieces, [coordinates.moved(layer.experts[0], moves)])
            sized = coordinates.gradient([gradient[0] for gradient in gradients])
            now, taken = rate * (1 - 0.75 * taken / (3 * steps.count)), taken + 1
            for i, gradient in enumerate(sized):
                gradient = gradient * steps.count / error
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.99 * second[i] + 0.01 * gradient**2
                away = first[i] / (1 - 0.9**taken) / (second[i] / (1 - 0.99**taken)).sqrt()
                moves[i] = moves[i] - now * away
                mean[i] = mean[i] + (moves[i] - mean[i]) / min(taken, steps.count)
    for name, tensor in zip(
        FITTED, [getattr(coordinates.moved(layer.experts[0], mean), n) for n in FITTED], strict=True
    ):
        torch.testing.assert_close(found[name][0], tensor, rtol=1e-8, atol=1e-10)


def test_the_report_is_of_what_is_returned(rng):
    layer = layer_of(rng)
    mask = torch.from_numpy(rng.random(len(layer.x)) < 0.7)
    wanted = looped(layer, disturbed(rng, layer.experts, 0.2), range(6))
    stack, report = fitted(layer, wanted, mask, iterations=6)
    errors = ((wanted - looped(layer, stack, range(6))) ** 2).sum(1)
    assert report.fitted[-1] == pytest.approx(errors[mask.numpy()].sum(), rel=1e-9)
    assert report.held_out[-1] == pytest.approx(errors[~mask.numpy()].sum(), rel=1e-9)
    assert len(report.fitted) == len(report.held_out) == 4
    assert (np.diff(report.fitted) < 0).all()
    assert (np.diff(report.held_out) <= 0).all()


def test_a_round_that_held_out_tokens_do_not_gain_from_is_undone(rng):
    """Noise is learnt by heart: it says nothing of other tokens."""
    layer = layer_of(rng, tokens=100)
    mask = torch.arange(100) < 30
    wanted = looped(layer, layer.experts, range(6))
    wanted[mask.numpy()] += noise(rng, layer).numpy()[mask.numpy()]
    stack, report = fitted(layer, wanted, mask, iterations=50)
    assert len(report.fitted) == 1
    assert all(torch.equal(getattr(stack, name), getattr(layer.experts, name)) for name in FITTED)
    _, without = fitted(layer.take(mask), wanted[mask.numpy()], iterations=50)
    assert without.fitted[-1] < 0.5 * without.fitted[0]


def test_experts_without_tokens_and_those_not_asked_for_keep_their_weights(rng):
    layer = layer_of(rng, never=(2,))
    wanted = looped(layer, layer.experts, [1, 2, 4]) + noise(rng, layer).numpy()
    stack, report = fitted(layer, wanted, which=[1, 2, 4], iterations=10)
    for name in FITTED:
        before, after = getattr(layer.experts, name), getattr(stack, name)
        assert [torch.equal(before[j], after[j]) for j in range(6)] == [True, False, True, True, False, True]
    errors = (wanted - looped(layer, stack, [1, 2, 4])) ** 2
    assert report.fitted[-1] == pytest.approx(errors.sum(), rel=1e-9)


def test_nothing_to_gain_changes_nothing(rng):
    layer = layer_of(rng)
    tokens = RefitTokens(layer.x, layer.routing, layer.x, torch.ones(len(layer.x), dtype=torch.bool))
    wanted = routed_outputs(tokens, [layer.experts[j] for j in range(6)], range(6), silu_unit)
    stack, _ = fitted(layer, wanted, iterations=10, batch=len(layer.x))
    assert all(torch.equal(getattr(stack, name), getattr(layer.experts, name)) for name in FITTED)


def test_micro_batches_change_rounding_alone(rng):
    layer = layer_of(rng)
    wanted = looped(layer, disturbed(rng, layer.experts, 0.2), range(6))
    one, many = (fitted(layer, wanted, iterations=2, batch=batch)[0] for batch in (1000, 7))
    for name in FITTED:
        torch.testing.assert_close(getattr(one, name), getattr(many, name), rtol=1e-6, atol=1e-8)


def test_bfloat16_layers_are_fitted_in_float32(rng):
    layer = layer_of(rng, dtype=torch.bfloat16)
    wanted = looped(layer, layer.experts, range(6)) + 0.3 * noise(rng, layer).double().numpy()
    stream, steps = (of(layer, torch.from_numpy(wanted).float()) for of in (stream_of, steps_of))
    after, report = fit_projections(stream, steps, layer.experts, silu_unit, range(6), FitSettings(10))
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert report.fitted[-1] < report.fitted[0]


@pytest.mark.parametrize("kind", some_slow(["biases", "input gates"], keep=["input gates"]))
def test_biases_and_input_gates_stay_and_are_counted(rng, kind):
    layer = layer_of(rng)
    count, width, hidden = layer.experts.gate.shape
    shapes = {"gate_bias": width, "up_bias": width, "down_bias": hidden} if kind == "biases" else {"input_gate": hidden}
    more = {name: torch.from_numpy(rng.normal(size=(count, size))) for name, size in shapes.items()}
    stack = replace(layer.experts, **more)
    unit = unit_of("clamped", {}) if kind == "biases" else silu_unit
    tokens = RefitTokens(layer.x, layer.routing, layer.x, torch.ones(len(layer.x), dtype=torch.bool))
    teacher = disturbed(rng, layer.experts, 0.05)
    teacher = replace(stack, gate=teacher.gate, up=teacher.up, down=teacher.down)
    wanted = routed_outputs(tokens, [teacher[j] for j in range(6)], range(6), unit)
    settings = FitSettings(**EXACT)
    projections, report = fit_projections(
        stream_of(layer, wanted), steps_of(layer, wanted, batch=200), stack, unit, range(6), settings
    )  # fmt: skip
    after = replace(stack, **projections)
    left = wanted - routed_outputs(tokens, [after[j] for j in range(6)], range(6), unit)
    assert report.fitted[-1] == pytest.approx(float(left.square().sum()), rel=1e-6)
    assert report.fitted[-1] < 1e-2 * report.fitted[0]
