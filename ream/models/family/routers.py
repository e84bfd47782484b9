"""How the model's own router is asked: one function a rule, on the MoE block of transformers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# (logits [T, N], weights [T, k], indices [T, k]): z(x), g_j(x) and T(x) as the model itself decides.
Answer = tuple[Tensor, Tensor, Tensor]


def _gate(block: Any, x: Tensor) -> Answer:
    answer: Answer = block.gate(x)
    return answer


def _router(block: Any, x: Tensor) -> Answer:
    answer: Answer = block.router(x)
    return answer


def _gate_and_bias(block: Any, x: Tensor) -> Answer:
    """MiniMax-M2: the correction bias is the block's."""
    answer: Answer = block.gate(x, block.e_score_correction_bias)
    return answer


def _scales_inputs(block: Any, x: Tensor) -> Answer:
    """Llama-4: the score of a selected expert scales its input, so that the weight of its output is 1."""
    _, logits = block.router(x)
    indices = torch.topk(logits, block.top_k, dim=1).indices
    return logits, torch.ones_like(indices, dtype=logits.dtype), indices


ROUTERS: dict[str, Callable[[Any, Tensor], Answer]] = {
    "gate": _gate,
    "router": _router,
    "gate-and-bias": _gate_and_bias,
    "scales-inputs": _scales_inputs,
}
