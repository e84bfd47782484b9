"""The (token, expert) pairs that a router chose, sorted by expert: one sort and one transfer to the host a micro-batch.

With the offsets on the host, loops over experts cut their tokens out with slices, and never wait for the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True)
class RoutedPairs:
    """The P pairs of the tokens that count, by tile (a run of tokens), then expert, then token.

    Attributes:
        tokens: how many tokens count.
        kept: which those are, ascending; None: all of them.
        flat: each pair's place in a flattened [T, k] tensor.
        token: each pair's token, counted among those that count.
        expert: each pair's expert.
        count: pairs of each expert.
        offsets: on the host; the pairs of expert j in tile t are those from offsets[t·N + j] to offsets[t·N + j + 1].
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
    """Sort the pairs.

    Args:
        indices: the experts of each token.
        experts: N.
        step: tokens of a tile, counted among those that count.
        mask: True for tokens that count; None: all do.
    """
    total, k = indices.shape
    device = indices.device
    tiles = -(-total // step)
    if mask is None:
        position = torch.arange(total, device=device)
    else:
        position = mask.to(device=device, dtype=torch.int64).cumsum(0) - 1
    key = position[:, None] // step * experts + indices
    if mask is not None:
        key = torch.where(mask.to(device)[:, None], key, tiles * experts)  # behind all that count
    ordered, flat = key.reshape(-1).sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(tiles * experts + 1, device=device))
    offsets: list[int] = starts.tolist()  # the one moment in which the host waits
    flat, ordered = flat[: offsets[-1]], ordered[: offsets[-1]]
    tokens, kept = offsets[-1] // k, None
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
    """For each expert that has tokens: its index, their rows, ascending, and which of a row's k places is its own.

    Args:
        indices: the experts of each token. experts: N.
    """
    pairs = routed_pairs(indices, experts, max(1, len(indices)))
    places = pairs.flat % indices.shape[1]
    for expert in range(experts if len(indices) else 0):
        part = slice(pairs.offsets[expert], pairs.offsets[expert + 1])
        if part.start < part.stop:
            yield expert, pairs.token[part], places[part]
