"""Sequences of different lengths as one rectangular batch."""

import numpy as np
from jaxtyping import Bool, Int64


def pad(sequences: list[list[int]], pad_id: int) -> tuple[Int64[np.ndarray, "n L"], Bool[np.ndarray, "n L"]]:
    """Token ids padded on the right to the longest sequence, and which of them are real.

    Returns:
        ids, [n, L] int64, ``pad_id`` beyond a sequence's end; mask, [n, L], True on real tokens. L is the length of the
        longest sequence, 0 where there is none.
    """
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(mask.shape, pad_id, dtype=np.int64)
    padded[mask] = np.fromiter((token for ids in sequences for token in ids), np.int64, count=int(lengths.sum()))
    return padded, mask
