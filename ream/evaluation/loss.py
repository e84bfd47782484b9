"""Mean next-token cross-entropy of a model on held-out text."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ream.evaluation.windows import PADDING, Windows, held_out_windows


def held_out_loss(
    model: Any,
    encode: Callable[[str], list[int]],
    eos_id: int | None,
    source: str,
    sequences: int,
    tokens: int,
    batch_tokens: int,
) -> dict[str, float]:
    """`window_loss` on `held_out_windows`; for many models, make the windows once."""
    return window_loss(model, held_out_windows(encode, eos_id, source, sequences, tokens), batch_tokens)


def window_loss(model: Any, windows: Windows, batch_tokens: int) -> dict[str, float]:
    """Mean of -log p(next token) in nats over all tokens but each window's first: float64 sum, divided once.

    The standard error is that of a ratio estimator with windows as the sampled units: tokens of a window are not
    independent. Padding is neither predicted nor counted, and under causal attention no token sees it.

    Args:
        model: a transformers causal language model, in eval mode, on its device.
        windows: [n, tokens] int32, PADDING at the ends of windows only.
        batch_tokens: upper bound on the tokens run at once; one window is run in any case.

    Returns:
        {loss, stderr: nats a token (stderr is 0 for a single window), tokens: predicted, sequences: n}.
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
    total = counts.sum()
    loss = sums.sum() / total
    spread = np.square(sums - loss * counts).sum() * count / max(1, count - 1)
    return {"loss": float(loss), "stderr": math.sqrt(spread) / total, "tokens": int(total), "sequences": count}
