"""A random sample of tokens, the same one for every expert."""

import numpy as np
from jaxtyping import Int64


def probe_positions(tokens: int, probes: int, seed: int) -> Int64[np.ndarray, " S"]:
    """Positions of the probe tokens among all real tokens, in random order, so that any first part is a fair sample.

    Args:
        tokens: number of real tokens of a source, over all its sequences in order.
        probes: S; where there are fewer tokens, all are probes.
        seed: seed of the sample.
    """
    return np.random.default_rng(seed).permutation(tokens)[:probes]
