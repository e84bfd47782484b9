"""How a router decides, from its logits and what it selected, on cases made by hand."""

import pytest
import torch

from ream.core.routing import SCORES
from ream.models.family.derived.decision import scores_of
from ream.models.family.derived.probe import Probe
from ream.models.family.recorded import UnknownDecisionError, recorded

LOGITS = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))


def probe(weights, indices):
    return Probe(torch.zeros(20, 4), LOGITS, indices, weights, False)


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "sqrt-softplus"])
@pytest.mark.parametrize("renormalised", [True, False])
def test_scores_are_found_up_to_a_factor_of_each_token(name, renormalised):
    weights, indices = SCORES[name](LOGITS).topk(3)
    weights = weights / weights.sum(1, keepdim=True) if renormalised else 2.5 * weights
    assert scores_of(probe(weights, indices)) == name


def test_probabilities_in_the_place_of_logits_are_taken_as_they_are():
    given = torch.softmax(LOGITS, 1) ** 2  # neither softmax, sigmoid nor square root of softplus of what is given
    weights, indices = given.topk(3)
    assert scores_of(Probe(torch.zeros(20, 4), given, indices, 0.5 * weights, False)) == "given"


def test_weights_that_are_no_function_of_single_logits_have_no_scores():
    weights, indices = LOGITS.topk(3)
    order = torch.arange(3.0)
    assert scores_of(probe(torch.softmax(weights + order, 1), indices)) is None


class Experts(torch.nn.Module):
    def forward(self, x, indices, weights):
        raise AssertionError("the experts are left out")


class Block(torch.nn.Module):
    """A block that hands its decision on in another order than transformers' usual one."""

    def __init__(self, names=("weights", "indices")):
        super().__init__()
        self.experts, self.router, self.names = Experts(), torch.nn.Linear(4, 8, bias=False), names

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        weights, indices = self.router(flat).softmax(-1).topk(2)
        given = {"weights": weights, "indices": indices}
        return self.experts(flat, **{name: given[name] for name in self.names}).reshape(x.shape) + 1


@torch.no_grad()
def test_a_decision_is_recorded_whatever_the_order_of_the_arguments():
    block, x = Block(), torch.randn(5, 4)
    logits, weights, indices, output = recorded(block, x, "experts", "router")
    expected = block.router(x)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(weights, expected.softmax(-1).gather(1, indices))
    assert torch.equal(indices, expected.topk(2).indices)
    assert torch.equal(output, torch.ones(1, 5, 4))
    with pytest.raises(AssertionError, match="left out"):  # the module has its own forward again
        block(x)


@pytest.mark.parametrize(("names", "words"), [(("weights",), "hand indices"), (("indices",), "hand weights")])
def test_a_block_that_hands_on_less_is_unknown(names, words):
    with pytest.raises(UnknownDecisionError, match=words):
        recorded(Block(names), torch.randn(5, 4), "experts", "router")
