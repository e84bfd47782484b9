"""Figures that would say nothing on this grid, and why: they are left out."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ream.analysis.numbers.mixes import MixPoints, Series
from ream.analysis.numbers.ranks import RankPoint

FEWEST_MIXES = 4  # fewer give no interval of a correlation


def silent_ranks(points: Sequence[RankPoint], kind: str) -> str | None:
    """Why figure 5 says nothing: all models, the original among them, have one rank."""
    ranks = {point.rank for point in points}
    return f"the {kind} rank of all models is {ranks.pop():g}" if len(ranks) == 1 else None


def silent_correlations(series: Mapping[Series, MixPoints]) -> str | None:
    """Why figures 3a and 7a say nothing: no method has enough mixes for an interval."""
    most = max((len(points.rows) for points in series.values()), default=0)
    mixes = "one mix gives" if most == 1 else f"{most} mixes give"
    return f"{mixes} no interval, {FEWEST_MIXES} would" if most < FEWEST_MIXES else None


def silent_fronts(series: Mapping[Series, MixPoints]) -> str | None:
    """Why figures 3b and 7b say nothing: every method has one mix, which is its front."""
    return "every method has one mix" if all(len(points.rows) < 2 for points in series.values()) else None


def silent_group_sizes(sizes: Iterable[np.ndarray]) -> str | None:
    """Why figure 1a says nothing: no method puts two experts into a group."""
    return "no method merges experts" if all((of_method == 1).all() for of_method in sizes) else None
