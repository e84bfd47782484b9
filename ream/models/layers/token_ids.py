"""Token ids that go along with hidden states, for models whose layers are given them.

DeepSeek-V4 selects experts by token ids in its first layers, and Qwen4 adds embeddings of n-grams in some. The ids take
the last channels of each token, as digits to the base 256: every floating dtype holds those exactly.
"""

import torch
from torch import Tensor

BASE, DIGITS = 256, 3  # 16 million ids


def with_ids(stream: Tensor, ids: Tensor) -> Tensor:
    """The numbers of each token in one axis, then its id: [B, L, S + DIGITS].

    Args:
        stream: [B, L, ...], with S numbers a token.
        ids: [B, L].
    """
    flat = stream.flatten(2) if stream.dim() > 3 else stream
    digits = torch.stack([ids // BASE**power % BASE for power in range(DIGITS)], -1)
    return torch.cat([flat, digits.to(flat.device, flat.dtype)], -1)


def ids_of(packed: Tensor) -> Tensor:
    """[...]: the ids in what `with_ids` returns."""
    powers = torch.tensor([BASE**power for power in range(DIGITS)], device=packed.device)
    ids: Tensor = (packed[..., -DIGITS:].long() * powers).sum(-1)
    return ids


def without_ids(packed: Tensor, axes: tuple[int, ...] = (-1,)) -> Tensor:
    """The numbers of each token, in their axes, of what `with_ids` returns."""
    numbers: Tensor = packed[..., :-DIGITS]
    return numbers.reshape(*numbers.shape[:-1], *axes)
