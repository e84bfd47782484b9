"""Pareto front and hypervolume of points (MC, GEN), both to be maximised (docs/analysis.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

MARGIN = 1.0


@dataclass(frozen=True)
class Front:
    """The Pareto front of one method's points.

    Attributes:
        members: whether each point is on the front.
        size: number of points on the front, the n of "n/10".
        hypervolume: area that the front dominates above the reference point, in squared percentage points.
    """

    members: Bool[np.ndarray, " n"]
    size: int
    hypervolume: float


def fronts(points: Mapping[str, Float64[np.ndarray, "n 2"]]) -> dict[str, Front]:
    """The front of each method, with one reference point for all of them.

    Args:
        points: method to its (MC, GEN) in percent, a row per mix.

    Raises:
        ValueError: there is no point at all, or one is not finite.
    """
    reference = reference_point(np.concatenate(list(points.values())) if points else np.empty((0, 2)))
    fronts_by_method = {}
    for method, of_method in points.items():
        members = front(of_method)
        fronts_by_method[method] = Front(members, int(members.sum()), hypervolume(of_method, reference))
    return fronts_by_method


def front(points: Float64[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Which points are on the Pareto front: no other matches or beats them on both measures and beats them on one.

    Equal points do not dominate each other, so all copies of a point on the front are on it.
    """
    matches = (points[:, None] >= points[None]).all(axis=2)
    beats = (points[:, None] > points[None]).any(axis=2)
    return np.logical_not((matches & beats).any(axis=0))


def reference_point(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "2"]:
    """The point one unit below the smallest MC and the smallest GEN of all compared points.

    Raises:
        ValueError: there is no point, or one is not finite.
    """
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("a reference point needs at least one point, and finite ones")
    return np.asarray(points.min(axis=0) - MARGIN)


def hypervolume(points: Float64[np.ndarray, "n 2"], reference: Float64[np.ndarray, "2"]) -> float:
    """Area that the points dominate above the reference point; points not above it on both measures add nothing.

    A sweep from the largest MC down: each point adds the rectangle between the highest GEN so far and its own.
    """
    area, height = 0.0, float(reference[1])
    for mc, gen in points[np.lexsort((-points[:, 1], -points[:, 0]))]:
        if mc > reference[0] and gen > height:
            area += float((mc - reference[0]) * (gen - height))
            height = float(gen)
    return area
