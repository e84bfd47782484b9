"""The (token, expert) pairs that a router selected, sorted by expert.

A micro-batch takes one sort and one transfer to the host. With the offsets on the host, loops over experts slice out
their tokens without waiting for the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True)
class RoutedPairs:
    """The P pairs of the real tokens, sorted by tile (a run of real tokens), then expert, then token.

    Attributes:
        tokens: number of real tokens.
        kept: their indices among all T tokens, ascending; None where all are real.
        flat: each pair's index in a flattened [T, k] tensor.
        token: each pair's token, as an index among the real tokens.
        expert: each pair's expert.
        count: number of pairs of each expert.
        offsets: on the host; offsets[t·N + j] to offsets[t·N + j + 1] are the pairs of expert j in tile t.
    """

    tokens: int
    kept: Int64[Tensor, " kept"] | None
    flat: Int64[Tensor, " P"]
    token: Int64[Tensor, " P"]
    expert: Int64[Tensor, " P"]
    count: Int64[Tensor, " N"]
    offsets: list[int]


def routed_pairs(
    indices: Int64[Tensor, "T k"], experts: int, step: int, mask: Bool[Tensor, " T"] | None = None
) -> RoutedPairs:
    """The sorted pairs.

    Args:
        indices: T(x), the experts of each token; N or more where a router selected no expert (`Routing`).
        experts: N.
        step: number of real tokens in a tile.
        mask: True for real tokens; None where all are real.
    """
    total, k = indices.shape
    device = indices.device
    tiles = -(-total // step)
    if mask is None:
        position = torch.arange(total, device=device)
    else:
        position = mask.to(device=device, dtype=torch.int64).cumsum(0) - 1
    selected = indices < experts if mask is None else (indices < experts) & mask.to(device)[:, None]
    key = torch.where(selected, position[:, None] // step * experts + indices, tiles * experts)  # the others behind
    ordered, flat = key.reshape(-1).sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(tiles * experts + 1, device=device))
    last = position[-1:] + 1  # one more than the position of the last real token
    offsets: list[int] = torch.cat([starts, last]).tolist()  # the only place where the host waits
    tokens, kept = offsets.pop() if total else 0, None
    flat, ordered = flat[: offsets[-1]], ordered[: offsets[-1]]
    if mask is not None and tokens < total:
        kept = (~mask.to(device)).to(torch.int8).argsort(stable=True)[:tokens]
    return RoutedPairs(
        tokens=tokens,
        kept=kept,
        flat=flat,
        token=position[flat // k],
        expert=ordered % experts,
        count=starts.diff().reshape(tiles, experts).sum(0),
        offsets=offsets,
    )


def routed_rows(
    indices: Int64[Tensor, "T k"], experts: int
) -> Iterator[tuple[int, Int64[Tensor, " R"], Int64[Tensor, " R"]]]:
    """Yield (expert, rows, slots) for each expert that any token is routed to.

    Rows are the expert's tokens, ascending; slots say which of a row's k experts it is.

    Args:
        indices: T(x), the experts of each token; N or more where a router selected no expert.
        experts: N.
    """
    pairs = routed_pairs(indices, experts, max(1, len(indices)))
    slots = pairs.flat % indices.shape[1]
    for expert in range(experts if len(indices) else 0):
        part = slice(pairs.offsets[expert], pairs.offsets[expert + 1])
        if part.start < part.stop:
            yield expert, pairs.token[part], slots[part]
