import numpy as np
import pytest
import torch

from ream.evaluation.loss import window_loss
from ream.evaluation.windows import PADDING


def reference(model, windows):
    """Loss and standard error in plain loops, a window at a time and without its padding."""
    sums, counts = [], []
    for window in windows:
        ids = [int(token) for token in window if token != PADDING]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double().numpy()
        total = 0.0
        for position in range(len(ids) - 1):
            row = logits[position]
            total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[ids[position + 1]]
        sums.append(total)
        counts.append(len(ids) - 1)
    loss = sum(sums) / sum(counts)
    n = len(sums)
    squares = sum((s - loss * c) ** 2 for s, c in zip(sums, counts, strict=True))
    return loss, (squares * n / (n - 1)) ** 0.5 / sum(counts), sum(counts)


@pytest.fixture
def windows(rng):
    windows = rng.integers(0, 250, size=(5, 24)).astype(np.int32)
    windows[4, 9:] = PADDING
    return windows


@pytest.mark.parametrize("batch_tokens", [1, 48, 1000])
def test_window_loss_equals_a_plain_loop_whatever_the_batch(model, windows, batch_tokens):
    result = window_loss(model, windows, batch_tokens)
    loss, stderr, tokens = reference(model, windows)
    assert result["loss"] == pytest.approx(loss, rel=1e-6)
    assert result["stderr"] == pytest.approx(stderr, rel=1e-5)
    assert result["tokens"] == tokens == 4 * 23 + 8
    assert result["sequences"] == 5


def test_padding_changes_nothing(model, windows):
    padded = np.full((4, 40), PADDING, dtype=np.int32)
    padded[:, :24] = windows[:4]
    plain = window_loss(model, windows[:4], 1000)
    assert window_loss(model, padded, 1000) == pytest.approx(plain, rel=1e-6)


def test_uniform_predictions_cost_the_logarithm_of_the_vocabulary(windows):
    class Uniform:
        device = torch.device("cpu")

        def __call__(self, input_ids, use_cache):
            return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 300)})

    result = window_loss(Uniform(), windows, 100)
    assert result["loss"] == pytest.approx(np.log(300), rel=1e-6)
    assert result["stderr"] == pytest.approx(0, abs=1e-6)
