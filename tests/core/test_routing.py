import numpy as np
import pytest
import torch

from ream.core.routing import SCORES, Routing, sigmoid_scores, softmax_scores
from tests.core import reference


def test_scores_by_hand():
    # z = (0, ln 3): softmax = (1, 3) / 4; sigmoid = (1/2, 1 / (1 + 1/3)) = (1/2, 3/4).
    logits = torch.tensor([[0.0, 3.0]]).where(torch.tensor([[True, False]]), torch.log(torch.tensor(3.0)))
    torch.testing.assert_close(softmax_scores(logits), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(sigmoid_scores(logits), torch.tensor([[0.5, 0.75]]))
    # sqrt(ln(1 + e^z)) = (sqrt(ln 2), sqrt(ln 4)).
    torch.testing.assert_close(SCORES["sqrt-softplus"](logits), torch.tensor([[0.8325546, 1.1774100]]))
    assert SCORES["given"](logits) is logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_scores_match_loops_in_float32(rng, kind, dtype):
    logits = torch.from_numpy(rng.normal(scale=4.0, size=(9, 5))).to(dtype)
    expected = [getattr(reference, kind)(row) for row in logits.double().tolist()]
    scores = SCORES[kind](logits)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


def test_softmax_of_large_logits():
    assert softmax_scores(torch.tensor([[1e4, 1e4, -1e4]])).tolist() == [[0.5, 0.5, 0.0]]


def test_take_by_mask_and_by_index():
    routing = Routing(
        logits=torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        scores=torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]),
        indices=torch.tensor([[0], [1], [0]]),
        weights=torch.tensor([[0.7], [0.8], [0.9]]),
    )
    for which in (torch.tensor([True, False, True]), torch.tensor([0, 2])):
        taken = routing.take(which)
        assert taken.logits.tolist() == [[1, 2], [5, 6]]
        torch.testing.assert_close(taken.scores, torch.tensor([[0.1, 0.2], [0.5, 0.6]]))
        assert taken.indices.tolist() == [[0], [0]]
        torch.testing.assert_close(taken.weights, torch.tensor([[0.7], [0.9]]))
