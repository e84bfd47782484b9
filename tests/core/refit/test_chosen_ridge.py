"""The refit with a chosen ridge against one dense solve for each λ of the list."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.refit import chosen_ridge
from ream.core.refit.chosen_ridge import (
    BEGIN,
    RIDGES,
    HeldOut,
    most_tried,
    refit_with_chosen_ridge,
    ridges,
)
from ream.core.refit.refit import RefitSettings
from ream.core.refit.sums import CompressedExperts, normal_sums
from tests.core.layers import float64, silu_unit
from tests.core.refit.refitting import design, layer_of, noise, stream_of

DIRECT, SWEEPS = RefitSettings(direct=4096), RefitSettings(sweeps=400, tolerance=1e-14)
INFINITE = float("inf")
HELD, SOURCES = 60, 2  # the last tokens are held out, those of two sources in turn


def split(layer):
    fitted = torch.arange(len(layer.x)) < len(layer.x) - HELD
    return fitted, torch.arange(len(layer.x)) % SOURCES


def held_out_of(layer, error, score, batch=25):
    fitted, source = split(layer)

    def stream():
        for tokens in stream_of(layer.take(~fitted), error[~fitted], torch.zeros(HELD, dtype=torch.bool), batch)():
            start = next(i for i in range(HELD) if torch.equal(layer.x[~fitted][i], tokens.x[0]))
            yield tokens, source[~fitted][start : start + len(tokens.x)]

    return HeldOut(stream, SOURCES, score)


def tables(layer, error):
    """λ to (change [K, H, D], squared error by source on held-out tokens), by numpy's least squares."""
    fitted, source = (each.numpy() for each in split(layer))
    matrix, (count, hidden, width) = design(layer), layer.experts.down.shape
    by_expert = matrix[fitted].reshape(-1, count, width)
    tokens = (by_expert != 0).any(2).sum(0)
    strength = (by_expert**2).sum(0).mean(1) * tokens[tokens > 0].mean() / np.maximum(tokens, 1)
    found = {}
    for ridge in RIDGES:
        rows = np.diag(np.sqrt(ridge * np.repeat(strength, width)))
        left = np.concatenate([matrix[fitted], rows])
        right = np.concatenate([float64(error)[fitted], np.zeros((len(rows), hidden))])
        change = np.linalg.lstsq(left, right, rcond=None)[0]
        squares = ((float64(error) - matrix @ change)[~fitted] ** 2).sum(1)
        errors = np.array([squares[source[~fitted] == s].sum() for s in range(SOURCES)])
        found[ridge] = change.reshape(count, width, hidden).transpose(0, 2, 1), errors
    return found


def expected(found, before, score):
    """λ, by the rule: from BEGIN down while that leaves less; if the first step down does not, up while that does."""
    left = [score(errors) for _, errors in found.values()]
    place = begin = RIDGES.index(BEGIN)
    for step in (1, -1):
        while 0 <= place + step < len(left) and left[place + step] < left[place]:
            place += step
        if place != begin:
            break
    return RIDGES[place] if left[place] < score(before) else None


@pytest.mark.parametrize("settings", [DIRECT, SWEEPS, replace(SWEEPS, outputs=3)], ids=["at once", "sweeps", "parts"])
@pytest.mark.parametrize(
    "signal", [pytest.param(0.0, marks=pytest.mark.slow), 0.03, pytest.param(3.0, marks=pytest.mark.slow)]
)
def test_equals_dense_solves_for_every_ridge(rng, settings, signal):
    """Errors that experts can explain want a weak ridge, noise wants a strong one or none."""
    layer = layer_of(rng)
    true = rng.normal(size=(design(layer).shape[1], layer.x.shape[1]))
    error = noise(rng, layer) + signal * torch.from_numpy(design(layer) @ true)
    score = lambda errors: float(errors[0] + 3 * errors[1])  # noqa: E731
    found = tables(layer, error)
    fitted, source = split(layer)
    squares = error[~fitted].square().sum(1)
    before = np.array([float(squares[source[~fitted] == s].sum()) for s in range(SOURCES)])
    wanted = expected(found, before, score)
    chosen = refit_with_chosen_ridge(
        stream_of(layer, error, fitted), held_out_of(layer, error, score), layer.experts, silu_unit, settings
    )
    assert chosen.ridge == wanted
    change = 0.0 if wanted is None else found[wanted][0]
    np.testing.assert_allclose(chosen.down.numpy(), float64(layer.experts.down) + change, rtol=2e-5, atol=2e-5)
    assert sum(chosen.tokens) == int(fitted.sum()) * layer.routing.indices.shape[1]


def test_signals_choose_different_ridges(rng):
    """The cases above are not all the same one."""
    layer = layer_of(rng)
    true = rng.normal(size=(design(layer).shape[1], layer.x.shape[1]))
    random, chosen = noise(rng, layer), []
    for signal in (0.0, 0.03, 3.0):
        error = random + signal * torch.from_numpy(design(layer) @ true)
        held_out = held_out_of(layer, error, lambda errors: float(errors.sum()))
        found = refit_with_chosen_ridge(
            stream_of(layer, error, split(layer)[0]), held_out, layer.experts, silu_unit, DIRECT
        )
        chosen.append(float("inf") if found.ridge is None else found.ridge)
    assert chosen[0] >= chosen[1] > chosen[2]


def test_every_expert_is_drawn_to_its_weights_by_the_same_number_of_tokens(rng):
    layer = layer_of(rng, never=(1,))
    sums = normal_sums(stream_of(layer, noise(rng, layer)), CompressedExperts(layer.experts, silu_unit))
    added, count = ridges(sums, 0.1), sums.count.numpy()
    mean = sums.gram.diagonal(dim1=1, dim2=2).mean(1).numpy() / np.maximum(count, 1)  # of one token
    tokens = 0.1 * count[count > 0].mean()
    np.testing.assert_allclose(added.numpy(), np.where(count > 0, tokens * mean, 0.0), rtol=1e-12)
    assert added[1] == 0.0


@pytest.mark.parametrize(
    "settings", [pytest.param(DIRECT, id="at once"), pytest.param(SWEEPS, id="sweeps", marks=pytest.mark.slow)]
)
def test_one_ridge_alone_and_from_another_on(rng, settings):
    layer = layer_of(rng)
    true = rng.normal(size=(design(layer).shape[1], layer.x.shape[1]))
    error = noise(rng, layer) + 3.0 * torch.from_numpy(design(layer) @ true)
    held_out = held_out_of(layer, error, lambda errors: float(errors.sum()))
    given = stream_of(layer, error, split(layer)[0]), held_out, layer.experts, silu_unit, settings
    chosen = refit_with_chosen_ridge(*given)
    alone = refit_with_chosen_ridge(*given, begin=0.1, alone=True)
    assert alone.ridge == 0.1 != chosen.ridge
    change, _ = tables(layer, error)[0.1]
    np.testing.assert_allclose(alone.down.numpy(), float64(layer.experts.down) + change, rtol=2e-5, atol=2e-5)
    for begin in (RIDGES[0], RIDGES[-1]):  # the errors of all λ have one valley
        found = refit_with_chosen_ridge(*given, begin=begin)
        assert found.ridge == chosen.ridge
        np.testing.assert_allclose(found.down.numpy(), chosen.down.numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("scores", "tried"),
    [
        pytest.param({0.03: 5, 0.01: 4, 0.003: 3, 0.001: 2, 0.0003: 1}, RIDGES[2:], id="to the weakest"),
        pytest.param({0.03: 5, 0.01: 4, 0.003: 4}, [0.03, 0.01, 0.003], id="no further than it falls"),
        pytest.param({0.03: 5, 0.01: 5, 0.1: 5, 0.3: 6}, [0.03, 0.01, 0.1, 0.3], id="ties go up"),
        pytest.param({0.03: 5, 0.01: 6, 0.1: 4, 0.3: 3}, [0.03, 0.01, 0.1, 0.3], id="to the strongest"),
        pytest.param({0.03: INFINITE, 0.01: INFINITE, 0.1: 1, 0.3: 2}, [0.03, 0.01, 0.1, 0.3], id="from none"),
    ],
)
def test_which_ridges_are_tried(scores, tried):
    asked = []
    chosen_ridge._descend(lambda ridge: asked.append(ridge) or scores[ridge], BEGIN, RIDGES)
    assert asked == list(tried)
    assert len(asked) <= most_tried(BEGIN)


def test_the_list_goes_from_strong_to_weak():
    assert list(RIDGES) == sorted(RIDGES, reverse=True)
    assert chosen_ridge.RefitSettings().ridge in RIDGES
    assert [most_tried(ridge) for ridge in RIDGES] == [7, 6, 5, 5, 6, 7, 7]
