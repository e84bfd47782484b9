"""Tables whose values are numbers of experts: DeepSeek-V4's first layers look a token's experts up by its id."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def remapped(
    table: Int[Tensor, "V k"], kept: Int[np.ndarray, " K"], group: Int[np.ndarray, " N"]
) -> Int[Tensor, "V k"]:
    """The table after compression: the positions of kept experts instead of the numbers of the original ones.

    An absorbed expert is replaced by the one that it was merged into. A row may then hold that one twice, with the
    weights of both, which is what both contributed to the layer's output.

    A removed expert is replaced by the next kept one, by number and beginning again behind the last, that its row does
    not hold yet. Where a row holds all of them, by the next kept one.

    Args:
        table: a row of k expert numbers for each token id.
        kept: numbers of the kept experts, by position.
        group: for each expert the position of the kept one that stands for it, −1 for a removed one.

    Returns:
        A table of the same shape and dtype.
    """
    ascending = np.sort(kept)
    count, before = len(kept), table.long().numpy()
    # Kept experts are first told by their rank among the kept ones, so that their order in the output means nothing.
    rank = np.searchsorted(ascending, kept)
    stands = np.where(group >= 0, rank[np.maximum(group, 0)], -1)
    following = np.searchsorted(ascending, np.arange(len(group))) % count
    result = stands[before]
    for column in range(table.shape[1]):
        rows = np.flatnonzero(result[:, column] < 0)
        candidate = following[before[rows, column]]
        for _ in range(count):
            taken = (result[rows] == candidate[:, None]).any(1)
            if not taken.any():
                break
            candidate = np.where(taken, (candidate + 1) % count, candidate)
        else:
            taken = (result[rows] == candidate[:, None]).any(1)
            candidate = np.where(taken, following[before[rows, column]], candidate)
        result[rows, column] = candidate
    position = np.argsort(rank)
    return torch.from_numpy(position[result]).to(table.dtype)
