"""Packing of sequences of different lengths into one rectangular batch."""

import numpy as np
from jaxtyping import Bool, Int64


def pad(sequences: list[list[int]], pad_id: int) -> tuple[Int64[np.ndarray, "n L"], Bool[np.ndarray, "n L"]]:
    """Token ids padded on the right to the longest sequence, and the mask of the real tokens.

    Args:
        sequences: token ids of n sequences.
        pad_id: id to pad with.

    Returns:
        ids: [n, L] int64, ``pad_id`` beyond the end of a sequence. L is the length of the longest sequence, 0 if there
            is none.
        mask: [n, L], True on real tokens.
    """
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(mask.shape, pad_id, dtype=np.int64)
    padded[mask] = np.fromiter((token for ids in sequences for token in ids), np.int64, count=int(lengths.sum()))
    return padded, mask
