"""Sums over the predicted tokens of a sequence that the fidelity of a model is made of (`fidelity_records`)."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ream.evaluation.fidelity_records import KL, LOSS, ORIGINAL_LOSS, SAME, TOKENS

Name = TypeVar("Name")
Logits = Callable[[slice], Tensor]  # some tokens of a sequence to their logits [t, V]


def sequence_sums(
    original: Logits, others: Mapping[Name, Logits], ids: Int64[Tensor, " T"], rows: int
) -> dict[Name, Float64[np.ndarray, "5"]]:
    """`token_sums` of a sequence for each of several models; the last token predicts nothing.

    Args:
        original: gives logits of the original.
        others: give those of the models that are compared with it.
        ids: [T] token ids of the sequence.
        rows: tokens whose logits are in memory at a time.
    """
    sums = {name: np.zeros(5) for name in others}
    for start in range(0, len(ids) - 1, rows):
        part = slice(start, min(start + rows, len(ids) - 1))
        following, expected = ids[part.start + 1 : part.stop + 1], original(part)
        for name, logits in others.items():
            sums[name] += token_sums(expected, logits(part), following)
    return sums


def token_sums(
    original: Float[Tensor, "t V"], other: Float[Tensor, "t V"], following: Int64[Tensor, " t"]
) -> Float64[np.ndarray, "5"]:
    """Sums over tokens of what two models say of the token that follows each.

    Log-probabilities are computed in float64: the differences of close models are smaller than float32's rounding.

    Args:
        original: [t, V] logits of the original.
        other: [t, V] logits of the model that is compared with it, on the same device.
        following: [t] ids of the tokens that follow.

    Returns:
        [5] sums: KL(original ‖ other) in nats, tokens with the same most likely next token, −log-probability of the
        next token in the other model and in the original, and t.
    """
    log_p, log_q = (F.log_softmax(logits.double(), dim=-1) for logits in (original, other))
    target = following.to(log_p.device)[:, None]
    sums = np.zeros(5)
    # p log p → 0 where a probability is 0, as of logits that a model sets to −inf
    sums[KL] = torch.where(log_p.isneginf(), 0.0, log_p.exp() * (log_p - log_q)).sum().item()
    sums[SAME] = (original.argmax(dim=-1) == other.argmax(dim=-1)).sum().item()
    sums[LOSS], sums[ORIGINAL_LOSS] = (-log.gather(1, target).sum().item() for log in (log_q, log_p))
    sums[TOKENS] = len(following)
    return sums
