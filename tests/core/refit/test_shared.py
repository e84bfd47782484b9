"""Tokens shared out among processes, here threads: each finds what one finds that has all tokens."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ream.core.refit.neuron_sums import PooledTokens, neuron_sums
from ream.core.refit.projection_fit import FitSettings, fit_projections
from ream.core.refit.projection_passes import Steps
from ream.core.refit.refit import RefitSettings, refit
from ream.core.refit.sums import RefitTokens
from ream.core.routing import Routing
from tests.core.layers import silu_unit
from tests.core.refit.refitting import layer_of, noise, steps_of, stream_of

SHARES = 3


class Together:
    """Adds totals up over threads that call in the same order."""

    def __init__(self):
        self.given, self.barrier = [None] * SHARES, threading.Barrier(SHARES, timeout=60)

    def total(self, number):
        def add(own):
            self.given[number] = own
            self.barrier.wait()
            added = sum(self.given[1:], start=self.given[0].clone())
            self.barrier.wait()
            return added

        return add


def shared(layer, error, fitted, solve):
    """What every thread finds; thread i has every SHARES-th micro-batch from i on."""
    whole, together = stream_of(layer, error, fitted, batch=16), Together()

    def part(number):
        def stream():
            yield from (tokens for index, tokens in enumerate(whole()) if index % SHARES == number)

        torch.set_grad_enabled(False)
        return solve(number, stream, together.total(number))

    with ThreadPoolExecutor(SHARES) as pool:
        return list(pool.map(part, range(SHARES)))


@pytest.fixture
def given():
    rng = np.random.default_rng(5)
    layer = layer_of(rng)
    fitted = torch.from_numpy(rng.random(len(layer.x)) < 0.8)
    return layer, noise(rng, layer), fitted


@pytest.mark.parametrize(
    "settings",
    [RefitSettings(direct=10**6), pytest.param(RefitSettings(sweeps=40, outputs=3), marks=pytest.mark.slow)],
)
def test_refit(given, settings):
    layer, error, fitted = given
    alone, report = refit(stream_of(layer, error, fitted), layer.experts, silu_unit, settings)
    found = shared(
        layer, error, fitted, lambda _, stream, total: refit(stream, layer.experts, silu_unit, settings, total)
    )
    for down, errors in found:
        torch.testing.assert_close(down, alone, rtol=1e-6, atol=1e-6)
        assert torch.equal(down, found[0][0])
        assert (errors.tokens, errors.fitted_tokens, errors.held_out_tokens) == (
            report.tokens, report.fitted_tokens, report.held_out_tokens
        )  # fmt: skip
        assert errors.fitted[-1] == pytest.approx(report.fitted[-1])
        assert errors.held_out[-1] == pytest.approx(report.held_out[-1])


def test_fit_of_all_projections(given):
    layer, error, fitted = given
    settings, which = FitSettings(8, round=4), range(len(layer.experts))
    stream, steps = stream_of(layer, error, fitted), steps_of(layer, error, fitted, 30)
    alone, report = fit_projections(stream, steps, layer.experts, silu_unit, which, settings)

    def solve(number, stream, total):
        def own(pieces):
            for piece in pieces:
                owner = torch.arange(len(piece.x)).remainder(SHARES).clamp(max=1) + 1  # the first has none
                part = (owner == number).nonzero()[:, 0]
                if len(part):
                    yield RefitTokens(piece.x[part], piece.routing.take(part), piece.error[part], piece.fitted[part])

        def tokens(order):
            yield from map(own, steps.tokens(order))

        return fit_projections(
            stream, Steps(steps.count, tokens), layer.experts, silu_unit, which, settings, total
        )  # fmt: skip

    found = shared(layer, error, fitted, solve)
    assert len(report.fitted) > 1
    for projections, errors in found:
        assert errors.fitted == pytest.approx(report.fitted)
        assert errors.held_out == pytest.approx(report.held_out)
        for name, tensor in projections.items():
            torch.testing.assert_close(tensor, alone[name], rtol=1e-6, atol=1e-6)
            assert torch.equal(tensor, found[0][0][name])


def test_sums_of_neurons(given):
    layer, error, _ = given
    groups = {0: np.array([0, 2]), 1: np.array([1, 3])}
    outputs = error.shape[1]

    def routed(stream):
        for tokens in stream():
            by = tokens.routing
            routing = Routing(by.logits[:, :2], by.scores[:, :2], by.indices[:, :1] % 2, by.weights[:, :1])
            yield PooledTokens(tokens.x, routing, tokens.error)

    alone = neuron_sums(routed(stream_of(layer, error)), layer.experts, groups, silu_unit, outputs)

    def solve(_, stream, total):
        return neuron_sums(routed(stream), layer.experts, groups, silu_unit, outputs, total=total)

    for found in shared(layer, error, None, solve):
        for position, sums in found.items():
            torch.testing.assert_close(sums.gram, alone[position].gram)
            torch.testing.assert_close(sums.products, alone[position].products)
            assert sums.count == alone[position].count > 0
