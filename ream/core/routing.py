"""How a router routed a batch of tokens, in the quantities that the statistics need."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Routing:
    """The routing of T tokens.

    Attributes:
        logits: z(x) = W_g x.
        scores: p(x), the router's scores of all experts, float32.
        indices: T(x), the experts that the model selects; N where it selects a row of its router that stands for none
            (Zaya's skipping, LongCat's identity).
        weights: g_j(x), by which the model multiplies each selected expert's output; no meaning where there is none.
    """

    logits: Float[Tensor, "T N"]
    scores: Float[Tensor, "T N"]
    indices: Int64[Tensor, "T k"]
    weights: Float[Tensor, "T k"]

    def take(self, mask: Tensor) -> "Routing":
        """The routing of some of the tokens.

        Args:
            mask: boolean mask or int64 indices over T.
        """
        return Routing(self.logits[mask], self.scores[mask], self.indices[mask], self.weights[mask])


def softmax_scores(logits: Float[Tensor, "T N"]) -> Float[Tensor, "T N"]:
    """softmax(z) in float32, for Qwen3, Mixtral, ERNIE and OLMoE."""
    return torch.softmax(logits.float(), dim=-1)


def sigmoid_scores(logits: Float[Tensor, "T N"]) -> Float[Tensor, "T N"]:
    """sigmoid(z) in float32, for GLM-4.5, DeepSeek-V3, Kimi-K2 and Llama-4."""
    return torch.sigmoid(logits.float())


def sqrt_softplus_scores(logits: Float[Tensor, "T N"]) -> Float[Tensor, "T N"]:
    """The square root of softplus(z) in float32, for DeepSeek-V4."""
    return torch.nn.functional.softplus(logits.float()).sqrt()


def given_scores(logits: Float[Tensor, "T N"]) -> Float[Tensor, "T N"]:
    """z in float32, for routers that give probabilities in the place of logits."""
    return logits.float()


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": softmax_scores,
    "sigmoid": sigmoid_scores,
    "sqrt-softplus": sqrt_softplus_scores,
    "given": given_scores,
}
