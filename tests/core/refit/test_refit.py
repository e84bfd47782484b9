"""The refit against one dense least-squares solve over all experts, hand-worked layers, and invariances."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.experts import ExpertStack, parts
from ream.core.refit import refit as refit_module
from ream.core.refit.conjugate_gradients import block_factors, solved_by_sweeps
from ream.core.refit.refit import RefitReport, RefitSettings, refit
from ream.core.refit.sums import CompressedExperts, normal_sums
from ream.core.routing import Routing
from tests.core.layers import Layer, float64, silu_unit
from tests.core.refit.refitting import design, layer_of, noise, stream_of
from tests.subsets import some_slow

EXACT = RefitSettings(ridge=1e-3, sweeps=400, tolerance=1e-14)


def product_unit(gate, up):
    return gate * up


def refitted(layer, error, fitted=None, settings=EXACT, batch=64, unit=silu_unit):
    return refit(stream_of(layer, error, fitted, batch), layer.experts, unit, settings)


def dense(layer, error, ridge):
    """W⁰ + the change of least squares [K, H, D] by one lstsq on all experts' columns and the ridge's rows."""
    matrix, (count, hidden, width) = design(layer), layer.experts.down.shape
    means = (matrix**2).sum(0).reshape(count, width).mean(1)
    rows = np.diag(np.sqrt(ridge * np.repeat(means, width)))
    both = np.concatenate([matrix, rows]), np.concatenate([float64(error), np.zeros((len(rows), hidden))])
    change = np.linalg.lstsq(*both, rcond=None)[0]
    return float64(layer.experts.down) + change.reshape(count, width, hidden).transpose(0, 2, 1)


def left(layer, down, error):
    """Squared error [T] that new down projections leave, by the dense design matrix."""
    change = (np.asarray(down, np.float64) - float64(layer.experts.down)).transpose(0, 2, 1)
    return ((float64(error) - design(layer) @ change.reshape(-1, change.shape[2])) ** 2).sum(1)


@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_equals_one_dense_solve_over_all_experts(rng, top_k, ridge):
    layer = layer_of(rng, top_k=top_k)
    error = noise(rng, layer)
    down, report = refitted(layer, error, settings=replace(EXACT, ridge=ridge))
    wanted = dense(layer, error, ridge)
    assert down.dtype == torch.float32
    assert np.abs(down.numpy() - wanted).max() < 1e-6 * np.abs(wanted).max()
    assert report.fitted[-1] == pytest.approx(left(layer, wanted, error).sum(), rel=1e-9)
    assert report.fitted[0] == pytest.approx(float(error.square().sum()), rel=1e-12)
    assert report.reverted == 0


def test_ridge_is_anchored_at_the_weights_before(rng):
    layer = layer_of(rng)
    down, report = refitted(layer, noise(rng, layer), settings=replace(EXACT, ridge=1e12))
    torch.testing.assert_close(down, layer.experts.down.float(), rtol=0, atol=1e-6)
    change = report.fitted[0] - report.fitted[-1]
    assert 0 < report.ridge <= change < 1e-8 * report.fitted[0]


def test_recovers_the_weights_that_made_the_target(rng):
    layer = layer_of(rng)
    wanted = torch.from_numpy(rng.normal(size=layer.experts.down.shape))
    error = torch.from_numpy(
        design(layer) @ (wanted - layer.experts.down).permute(0, 2, 1).reshape(-1, layer.x.shape[1]).numpy()
    )
    down, report = refitted(layer, error, settings=replace(EXACT, ridge=0.0))
    torch.testing.assert_close(down, wanted.float(), rtol=1e-5, atol=1e-6)
    assert report.left < 1e-12


def by_hand(indices, weights, inputs, down):
    """H = D = 1 with gate = up = 1 and no activation: h(x) = x²."""
    x = torch.tensor(inputs, dtype=torch.float64)[:, None]
    ones = torch.ones(len(down), 1, 1, dtype=torch.float64)
    stack = ExpertStack(ones, ones, torch.tensor(down, dtype=torch.float64)[:, None, None])
    logits = torch.zeros(len(x), len(down), dtype=torch.float64)
    routing = Routing(logits, logits.float(), torch.tensor(indices), torch.tensor(weights, dtype=torch.float64))
    return Layer(x, stack, routing)


def test_one_expert_by_hand():
    """x = 1, 2 with weight 1/2: f = 1/2, 2 and A = 17/4. Errors 1, 3: B = 1/2 + 6 = 13/2.

    With λ = 1 (mean diag A = A): X = (13/2) / (17/2) = 13/17. W = 5 + 13/17.
    Left: (1 − 13/34)² + (3 − 26/17)² = (21/34)² + (50/34)² = 2941/1156; the ridge adds 17/4 · (13/17)² = 169/68.
    """
    layer = by_hand([[0], [0]], [[0.5], [0.5]], [1.0, 2.0], [5.0])
    error = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    down, report = refitted(layer, error, settings=replace(EXACT, ridge=1.0), unit=product_unit)
    assert down.item() == pytest.approx(5 + 13 / 17, rel=1e-7)
    assert report.fitted[-1] == pytest.approx(2941 / 1156)
    assert report.ridge == pytest.approx(169 / 68)
    assert report.tokens == [2]


def test_two_experts_that_share_a_token_by_hand():
    """x = 1 goes to both with weight 1, x = √2 (h = 2) to the first and √3 (h = 3) to the second, 0 to the other.

    No ridge: X_0 + X_1 = 1, 2 X_0 = 2, 3 X_1 = 6 in least squares: A = [[5, 1], [1, 10]], B = [5, 19], its
    det = 49: X_0 = (50 − 19) / 49 = 31/49, X_1 = (95 − 5) / 49 = 90/49. Each alone would take 1 and 1.9.
    """
    layer = by_hand([[0, 1]] * 3, [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], [1.0, 2**0.5, 3**0.5], [0.0, 0.0])
    error = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)
    down, report = refitted(layer, error, settings=replace(EXACT, ridge=0.0), unit=product_unit)
    assert down.flatten().tolist() == pytest.approx([31 / 49, 90 / 49], rel=1e-7)
    assert report.tokens == [3, 3]
    assert len(report.fitted) <= 4  # two unknowns: exact after two sweeps, and one that finds nothing


@pytest.mark.parametrize("batch", some_slow([1, 7, 1000], keep=[7, 1000]))
def test_micro_batches_change_nothing(rng, batch):
    layer = layer_of(rng, tokens=40)
    error, fitted = noise(rng, layer), torch.from_numpy(rng.random(40) < 0.8)
    short = replace(EXACT, ridge=0.1, tolerance=1e-6)
    one, other = (refitted(layer, error, fitted, short, size) for size in (40, batch))
    torch.testing.assert_close(one[0], other[0], rtol=1e-6, atol=1e-7)
    assert one[1].fitted == pytest.approx(other[1].fitted)
    assert one[1].held_out == pytest.approx(other[1].held_out)


def test_the_order_of_tokens_changes_nothing(rng):
    layer = layer_of(rng, tokens=80)
    error, order = noise(rng, layer), torch.from_numpy(rng.permutation(80))
    torch.testing.assert_close(
        refitted(layer, error)[0], refitted(layer.take(order), error[order])[0], rtol=1e-6, atol=1e-7
    )


def test_neurons_in_another_order_give_columns_in_that_order(rng):
    layer, order = layer_of(rng), torch.from_numpy(rng.permutation(5))
    error = noise(rng, layer)
    moved = ExpertStack(**{name: t[:, :, order] if name == "down" else t[:, order] for name, t in parts(layer.experts)})
    torch.testing.assert_close(
        refitted(layer.with_experts(moved), error)[0], refitted(layer, error)[0][:, :, order], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("outputs", some_slow([3, 8], keep=[8]))
def test_outputs_at_a_time_change_nothing(rng, outputs):
    layer = layer_of(rng)
    error, fitted = noise(rng, layer), torch.from_numpy(rng.random(200) < 0.8)
    down, report = refitted(layer, error, fitted, settings=replace(EXACT, outputs=outputs))
    whole, expected = refitted(layer, error, fitted)
    torch.testing.assert_close(down, whole, rtol=1e-6, atol=1e-7)
    for name in ("fitted", "held_out"):
        errors, wanted = getattr(report, name), getattr(expected, name)
        assert (errors[0], errors[-1]) == pytest.approx((wanted[0], wanted[-1]))
    assert report.ridge == pytest.approx(expected.ridge)


def test_outputs_that_took_fewer_sweeps_stay_at_their_last_errors(rng):
    """The first four outputs have no error, and are done after one sweep."""
    layer = layer_of(rng)
    error, fitted = noise(rng, layer), torch.from_numpy(rng.random(200) < 0.8)
    error[:, :4] = 0.0
    _, report = refitted(layer, error, fitted, replace(EXACT, outputs=4, tolerance=1e-6))
    experts, stream = CompressedExperts(layer.experts, silu_unit), stream_of(layer, error, fitted)
    gram = normal_sums(stream, experts).gram
    ridge = EXACT.ridge * gram.diagonal(dim1=1, dim2=2).mean(1)
    _, expected = solved_by_sweeps(stream, experts, slice(4, 8), ridge, block_factors(gram, ridge), 400, 1e-6)
    assert len(report.fitted) == len(expected.fitted) > 3
    assert report.fitted == pytest.approx(expected.fitted, rel=1e-12)
    assert report.held_out == pytest.approx(expected.held_out, rel=1e-12)


@pytest.mark.parametrize(("direct", "at_once"), [(29, False), (30, True)])
def test_the_matrix_is_kept_up_to_the_number_of_columns(rng, monkeypatch, direct, at_once):
    """K·D = 6 · 5 = 30."""
    calls = []
    solved_at_once = refit_module.solved_at_once
    monkeypatch.setattr(refit_module, "solved_at_once", lambda *given: calls.append(given) or solved_at_once(*given))
    layer = layer_of(rng, tokens=40)
    refitted(layer, noise(rng, layer), settings=replace(EXACT, sweeps=1, direct=direct))
    assert bool(calls) is at_once


@pytest.mark.parametrize("direct", [0, 100])
def test_the_layer_before_is_left_alone(rng, direct):
    layer = layer_of(rng, dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in parts(layer.experts)}
    down, _ = refitted(layer, noise(rng, layer), settings=RefitSettings(direct=direct))
    assert not torch.equal(down, before["down"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts(layer.experts))


def test_what_is_left_is_the_last_error_by_the_first():
    report = RefitReport([8.0, 4.0, 2.0], [10.0, 5.0, 15.0], 0.0, [1], 1, 1, 0)
    assert (report.left, report.left_held_out) == (0.25, 1.5)
    nothing = replace(report, fitted=[0.0, 0.0], held_out=[0.0, 0.0])
    assert (nothing.left, nothing.left_held_out) == (1.0, 1.0)


def test_settings_unless_said_otherwise():
    """docs/refit.md, "How it is solved"."""
    assert RefitSettings() == RefitSettings(ridge=1e-3, sweeps=20, tolerance=1e-5, outputs=None, direct=0)


def test_held_out_tokens_are_measured_and_not_fitted(rng):
    layer = layer_of(rng)
    error, fitted = noise(rng, layer), torch.from_numpy(rng.random(200) < 0.7)
    down, report = refitted(layer, error, fitted)
    alone, expected = refitted(layer.take(fitted), error[fitted])
    torch.testing.assert_close(down, alone, rtol=1e-6, atol=1e-7)
    errors = left(layer, down, error)
    assert report.fitted[-1] == pytest.approx(errors[fitted.numpy()].sum(), rel=1e-5)
    assert report.held_out[-1] == pytest.approx(errors[~fitted.numpy()].sum(), rel=1e-5)
    assert report.held_out[0] == pytest.approx(float(error[~fitted].square().sum()))
    assert report.left < 1 < report.left_held_out  # noise is learnt by heart
    assert (report.fitted_tokens, report.held_out_tokens) == (int(fitted.sum()), int((~fitted).sum()))
    assert set(expected.held_out) == {0.0}
    after_two = refitted(layer, error, fitted, settings=replace(EXACT, sweeps=2))[1]
    assert report.held_out[:3] == pytest.approx(after_two.held_out)


def test_an_output_that_is_measured_to_be_worse_keeps_its_weights(rng):
    """The last pass finds twice the error in output 3, as if rounding had broken it."""
    layer = layer_of(rng)
    error, passes = noise(rng, layer), 0
    plain, settings = stream_of(layer, error), replace(EXACT, sweeps=2)

    def stream():
        nonlocal passes
        passes += 1
        for tokens in plain():
            wrong = torch.ones(8, dtype=torch.float64)
            wrong[3] = 2.0 if passes == 5 else 1.0  # A_j, the errors, two sweeps, the measurement
            yield replace(tokens, error=tokens.error * wrong)

    down, report = refit(stream, layer.experts, silu_unit, settings)
    expected, _ = refitted(layer, error, settings=settings)
    expected[:, 3] = layer.experts.down[:, 3].float()
    assert torch.equal(down, expected)
    assert report.reverted == 1
    assert report.fitted[-1] == pytest.approx(left(layer, down, error).sum(), rel=1e-6)
    assert passes == 6


def test_an_expert_without_tokens_keeps_its_weights(rng):
    layer = layer_of(rng, never=[2])
    down, report = refitted(layer, noise(rng, layer))
    assert report.tokens[2] == 0 < report.tokens[1]
    assert torch.equal(down[2], layer.experts.down[2].float())
    assert not torch.equal(down[1], layer.experts.down[1].float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_without_ridge_leaves_as_little_as_the_dense_solve(rng, dtype):
    """30 unknowns an output and 17 tokens: all errors can be fitted, in many ways."""
    layer = layer_of(rng, tokens=17, dtype=dtype)
    error = noise(rng, layer)
    down, report = refitted(layer, error, settings=replace(EXACT, ridge=0.0, sweeps=100))
    wanted = left(layer, dense(layer, error, 0.0), error).sum()
    assert abs(report.fitted[-1] - wanted) < 1e-6 * report.fitted[0]
    assert torch.isfinite(down).all()
    assert float((down - layer.experts.down).abs().max()) < 1e3


def test_one_token_is_fitted_exactly_by_the_least_change(rng):
    """One expert, one token: X = e f^T / ‖f‖²."""
    layer = layer_of(rng, tokens=1, top_k=1)
    error, expert = noise(rng, layer), int(layer.routing.indices[0, 0])
    down, report = refitted(layer, error, settings=replace(EXACT, ridge=0.0))
    f = design(layer)[0].reshape(6, 5)[expert]
    change = np.outer(float64(error)[0], f) / (f @ f)
    np.testing.assert_allclose(down[expert].numpy(), float64(layer.experts.down[expert]) + change, rtol=1e-5, atol=1e-6)
    assert report.fitted[-1] < 1e-20
    assert sum(report.tokens) == 1


@pytest.mark.parametrize("kind", ["all held out", "no tokens", "no error"])
def test_nothing_to_fit_changes_nothing(rng, kind):
    layer = layer_of(rng, tokens=20)
    error, fitted = noise(rng, layer), torch.zeros(20, dtype=torch.bool)
    if kind == "no tokens":
        layer, error, fitted = layer.take(torch.arange(0)), error[:0], fitted[:0]
    if kind == "no error":
        error, fitted = error * 0, ~fitted
    down, report = refitted(layer, error, fitted)
    assert torch.equal(down, layer.experts.down.float())
    assert report.fitted[-1] == report.ridge == 0
    assert report.held_out[-1] == pytest.approx(float(error.square().sum()))
    assert report.left == 1


def test_biases_count_in_the_output_and_scaled_inputs_work(rng):
    """The target is reached with gpt-oss's biases, which the error leaves out, and with Llama-4's input gates."""
    layer = layer_of(rng)
    extra = {
        name: torch.from_numpy(rng.normal(size=(6, size)))
        for name, size in (("gate_bias", 5), ("up_bias", 5), ("down_bias", 8), ("input_gate", 8))
    }
    stack = ExpertStack(**dict(parts(layer.experts)), **extra)
    layer = replace(layer, experts=stack)
    wanted = replace(stack, down=torch.from_numpy(rng.normal(size=stack.down.shape)))

    def output(experts):
        total = np.zeros(layer.x.shape)
        for t, x in enumerate(float64(layer.x)):
            for j, weight in zip(layer.routing.indices[t], layer.routing.weights[t], strict=True):
                expert = {name: float64(tensor) for name, tensor in parts(experts[int(j)])}
                scaled = x / (1 + np.exp(-expert["input_gate"] @ x))
                gate = expert["gate"] @ scaled + expert["gate_bias"]
                h = gate / (1 + np.exp(-gate)) * (expert["up"] @ scaled + expert["up_bias"])
                total[t] += float(weight) * (expert["down"] @ h + expert["down_bias"])
        return total

    error = torch.from_numpy(output(wanted) - output(stack))
    down, _ = refitted(layer, error, settings=replace(EXACT, ridge=0.0))
    torch.testing.assert_close(down, wanted.down.float(), rtol=1e-5, atol=1e-5)


def test_bfloat16_activations_are_multiplied_in_float32(rng):
    layer = layer_of(rng, tokens=400, dtype=torch.bfloat16)
    error = noise(rng, layer)
    down, report = refitted(layer, error)
    assert down.dtype == torch.float32
    wanted = left(layer, dense(layer, error, 1e-3), error).sum()
    assert left(layer, down, error).sum() == pytest.approx(wanted, rel=1e-3)
    assert report.fitted[-1] == pytest.approx(wanted, rel=2e-3)
