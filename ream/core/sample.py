"""A random sample of tokens, the same one for every expert, and how large it is."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

ALL_UP_TO = 65_536  # tokens up to which "auto" measures outputs on all of them
FIRST, MOST = 4_096, 16_384  # tokens with which "auto" begins, and beyond which it does not go


@dataclass(frozen=True)
class Sampling:
    """The size of a sample.

    Attributes:
        first: number of tokens to begin with.
        most: number of tokens up to which the sample is doubled where it is not precise enough.
    """

    first: int
    most: int


def sampling(dense_tokens: int | Literal["all", "auto"], tokens: int, alone: bool = True) -> Sampling | None:
    """The sample for means of outputs; None where they are measured on all tokens.

    Args:
        dense_tokens: a number of tokens, "all", or "auto": all up to `ALL_UP_TO`, beyond it a sample that grows.
        tokens: number of tokens of the source or mix.
        alone: whether one process sees all tokens. Shards and ranks do not know whether the whole is precise enough, so
            for them "auto" takes the largest sample at once.
    """
    if dense_tokens == "all" or (dense_tokens == "auto" and tokens <= ALL_UP_TO):
        return None
    if dense_tokens == "auto":
        return Sampling(FIRST if alone else MOST, MOST)
    return None if dense_tokens >= tokens else Sampling(dense_tokens, dense_tokens)


def probe_positions(tokens: int, probes: int, seed: int) -> Int64[np.ndarray, " S"]:
    """Positions of sampled tokens among all real tokens, in random order, so that any first part is a fair sample.

    Args:
        tokens: number of real tokens of a source, over all its sequences in order.
        probes: S; where there are fewer tokens, all are taken.
        seed: seed of the sample.
    """
    return np.random.default_rng(seed).permutation(tokens)[:probes]
