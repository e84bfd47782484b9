"""The rows of a router against numpy's least squares, where inputs have drifted."""

import numpy as np
import pytest
import torch

from ream.core.refit.chosen_ridge import RIDGES
from ream.core.refit.router_rows import RouterRows

TOKENS, HIDDEN, EXPERTS, HELD = 300, 12, 6, 60


def drifted(rng, drift, noise):
    """(x', z(x) − z(x')) of a router whose inputs a linear drift and noise have changed."""
    x, rows = rng.normal(size=(TOKENS, HIDDEN)), rng.normal(size=(EXPERTS, HIDDEN))
    moved = x + drift * x @ rng.normal(size=(HIDDEN, HIDDEN)) / HIDDEN + noise * rng.normal(size=x.shape)
    return moved, (x - moved) @ rows.T


def fitted_rows(x, error, batch=50, total=lambda sums: sums):
    rows = RouterRows(EXPERTS, HIDDEN, torch.device("cpu"))
    for start in range(0, TOKENS, batch):
        part = slice(start, start + batch)
        fitted = torch.arange(TOKENS)[part] < TOKENS - HELD
        rows.add(torch.from_numpy(x[part]).float(), torch.from_numpy(error[part]).float(), fitted)
    return rows.change(total)


def dense(x, error):
    """λ to (change, squared error on held-out tokens)."""
    found = {}
    for ridge in RIDGES:
        known = x[:-HELD]
        ridge_rows = np.sqrt(ridge * (known**2).sum(0).mean()) * np.eye(HIDDEN)
        both = np.concatenate([known, ridge_rows]), np.concatenate([error[:-HELD], np.zeros((HIDDEN, EXPERTS))])
        change = np.linalg.lstsq(*both, rcond=None)[0]
        found[ridge] = change.T, float(((error[-HELD:] - x[-HELD:] @ change) ** 2).sum())
    return found


@pytest.mark.parametrize(("drift", "noise"), [(1.0, 0.0), (1.0, 0.5), (0.2, 1.0)])
@pytest.mark.parametrize("batch", [7, 300])
def test_equals_dense_least_squares(rng, drift, noise, batch):
    x, error = drifted(rng, drift, noise)
    found = dense(x, error)
    best = min(found, key=lambda ridge: found[ridge][1])
    change, left = fitted_rows(x, error, batch)
    np.testing.assert_allclose(change.numpy(), found[best][0], rtol=1e-4, atol=1e-5)
    assert left == pytest.approx(found[best][1] / float((error[-HELD:] ** 2).sum()), rel=1e-4)
    assert left < 1


def test_a_linear_drift_is_undone(rng):
    _, left = fitted_rows(*drifted(rng, 0.5, 0.0))
    assert left < 1e-5


def test_what_held_out_tokens_do_not_gain_from_is_left(rng):
    """Errors that nothing in the inputs explains."""
    x = rng.normal(size=(TOKENS, HIDDEN))
    error = rng.normal(size=(TOKENS, EXPERTS))
    error[-HELD:] = -x[-HELD:] @ np.linalg.lstsq(x[:-HELD], error[:-HELD], rcond=None)[0]
    change, left = fitted_rows(x, error)
    assert not change.any()
    assert left == 1.0


def test_without_an_error_nothing_moves(rng):
    change, left = fitted_rows(rng.normal(size=(TOKENS, HIDDEN)), np.zeros((TOKENS, EXPERTS)))
    assert not change.any()
    assert left == 1.0
