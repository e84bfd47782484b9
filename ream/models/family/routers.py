"""How the model's own router is called: one function for each rule, on the MoE block of transformers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ream.models.family.family import Family
from ream.models.family.recorded import recorded

# Logits z(x) [T, N], weights g_j(x) [T, k] and indices T(x) [T, k], as the model itself decides.
Answer = tuple[Tensor, Tensor, Tensor]


def _gate(block: Any, family: Family, x: Tensor) -> Answer:
    """Most families."""
    answer: Answer = block.gate(x)
    return answer


def _router(block: Any, family: Family, x: Tensor) -> Answer:
    """gpt-oss: the gate is called router."""
    answer: Answer = block.router(x)
    return answer


def _gate_and_bias(block: Any, family: Family, x: Tensor) -> Answer:
    """MiniMax-M2: the correction bias belongs to the block, not to the gate."""
    answer: Answer = block.gate(x, block.e_score_correction_bias)
    return answer


def _scales_inputs(block: Any, family: Family, x: Tensor) -> Answer:
    """Llama-4: the score of a selected expert scales its input, so the weight of its output is 1."""
    _, logits = block.router(x)
    indices = torch.topk(logits, block.top_k, dim=1).indices
    return logits, torch.ones_like(indices, dtype=logits.dtype), indices


def _hooked(block: Any, family: Family, x: Tensor) -> Answer:
    """Any other block that hands indices and weights to an experts module: it is run without its experts."""
    logits, weights, indices, _ = recorded(block, x, family.experts_module, family.router_module)
    return logits, weights, indices


ROUTERS: dict[str, Callable[[Any, Family, Tensor], Answer]] = {
    "gate": _gate,
    "router": _router,
    "gate-and-bias": _gate_and_bias,
    "scales-inputs": _scales_inputs,
    "hooked": _hooked,
}
