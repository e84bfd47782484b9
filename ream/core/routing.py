"""What a router decided for a batch of tokens, in the terms the statistics need."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Routing:
    """The router's answer for T tokens.

    Attributes:
        logits: z(x) = W_g x.
        scores: p(x), the router's scores of all experts, float32.
        indices: T(x), the experts the model selects.
        weights: g_j(x), the weight the model multiplies each selected expert's output with.
    """

    logits: Float[Tensor, "T N"]
    scores: Float[Tensor, "T N"]
    indices: Int64[Tensor, "T k"]
    weights: Float[Tensor, "T k"]

    def take(self, mask: Tensor) -> "Routing":
        """The routing of some of the tokens (boolean mask or indices over T)."""
        return Routing(self.logits[mask], self.scores[mask], self.indices[mask], self.weights[mask])


def softmax_scores(logits: Float[Tensor, "T N"]) -> Float[Tensor, "T N"]:
    """softmax(z) in float32: Qwen3, Mixtral, ERNIE, OLMoE."""
    return torch.softmax(logits.float(), dim=-1)


def sigmoid_scores(logits: Float[Tensor, "T N"]) -> Float[Tensor, "T N"]:
    """sigmoid(z) in float32: GLM-4.5, DeepSeek-V3, Kimi-K2, Llama-4."""
    return torch.sigmoid(logits.float())


SCORES: dict[str, Callable[[Tensor], Tensor]] = {"softmax": softmax_scores, "sigmoid": sigmoid_scores}
