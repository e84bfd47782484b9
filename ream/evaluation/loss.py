"""Mean next-token cross-entropy of a model on held-out text."""

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float64

from ream.evaluation.windows import PADDING, Windows

if TYPE_CHECKING:
    import torch


class CausalModel(Protocol):
    """What is used of a causal language model of transformers."""

    @property
    def device(self) -> "torch.device":
        """The device of its weights."""

    def __call__(self, *, input_ids: "torch.Tensor", use_cache: bool) -> Any:
        """An output with ``logits`` [sequences, tokens, vocabulary]."""


def window_loss(model: CausalModel, windows: Windows, batch_tokens: int) -> dict[str, float]:
    """Mean of -log p(next token) in nats over all tokens but the first of each window: float64 sum, divided once.

    The standard error is that of a ratio estimator whose sampled units are windows, because the tokens of a window are
    not independent. Padding is neither predicted nor counted, and under causal attention no token sees it.

    Args:
        model: the model, in eval mode, on its device.
        windows: [n, tokens] int32, PADDING only at the ends of windows.
        batch_tokens: upper bound on the tokens run at once; at least one window is run at once.

    Returns:
        {loss, stderr, tokens, sequences}: mean loss and its standard error in nats a token (0 for a single window),
        number of predicted tokens, and n.
    """
    import torch
    import torch.nn.functional as F

    count, length = windows.shape
    rows = max(1, batch_tokens // length)
    sums, counts = np.zeros(count), np.zeros(count)
    with torch.no_grad():
        for start in range(0, count, rows):
            ids = torch.from_numpy(windows[start : start + rows].astype(np.int64)).to(model.device)
            logits = model(input_ids=ids.clamp_min(0), use_cache=False).logits
            for row, (scores, target) in enumerate(zip(logits[:, :-1], ids[:, 1:], strict=True), start):
                losses = F.cross_entropy(scores.float(), target, ignore_index=PADDING, reduction="none")
                sums[row] = losses.double().sum().item()
                counts[row] = (target != PADDING).sum().item()
    return loss_of(sums, counts)


def loss_of(sums: Float64[np.ndarray, " n"], counts: Float64[np.ndarray, " n"]) -> dict[str, float]:
    """The loss of `window_loss`, from the sum and the number of predicted tokens of each window."""
    count, total = len(sums), counts.sum()
    loss = sums.sum() / total
    spread = np.square(sums - loss * counts).sum() * count / max(1, count - 1)
    return {"loss": float(loss), "stderr": math.sqrt(spread) / total, "tokens": int(total), "sequences": count}
