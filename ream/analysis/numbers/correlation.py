"""Pearson correlations with confidence intervals by Fisher's z."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of two columns.

    Attributes:
        r: None where it is not defined, for the reason in ``undefined``.
        low, high: of the confidence interval; None where r is not defined or there are fewer than 4 points.
        points: how many.
        undefined: why there is no r, or no interval; empty where there are both.
    """

    r: float | None
    low: float | None
    high: float | None
    points: int
    undefined: str = ""


def pearson(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], confidence: float = 0.95) -> Correlation:
    """Pearson's r and its interval tanh(atanh r ± q / sqrt(n − 3)), q the normal quantile of the confidence.

    Equivalent to scipy.stats.pearsonr(x, y).confidence_interval(confidence). An r of ±1 has an interval of no width.

    Raises:
        ValueError: the columns differ in length, or a value is not finite.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values cannot correlate with {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a correlation needs finite values")
    n = len(x)
    if n < 2:
        return Correlation(None, None, None, n, "fewer than 2 points")
    if _constant(x) or _constant(y):
        return Correlation(None, None, None, n, "a column is constant")
    a, b = _unit(x), _unit(y)
    r = float(np.clip(a @ b, -1.0, 1.0))
    if n < 4:
        return Correlation(r, None, None, n, "fewer than 4 points for an interval")
    if abs(r) > 1 - 1e-15:  # on a line, up to the last bits of float64
        r = math.copysign(1.0, r)
        return Correlation(r, r, r, n)
    width = NormalDist().inv_cdf((1 + confidence) / 2) / math.sqrt(n - 3)
    return Correlation(r, math.tanh(math.atanh(r) - width), math.tanh(math.atanh(r) + width), n)


def correlations(
    columns: Mapping[str, Float64[np.ndarray, " n"]], confidence: float = 0.95
) -> dict[tuple[str, str], Correlation]:
    """Correlation of every pair of columns, in their order; (a, b) only, not (b, a)."""
    names = list(columns)
    return {
        (one, other): pearson(columns[one], columns[other], confidence)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }


@dataclass(frozen=True)
class Line:
    """Least-squares line y = slope · x + intercept, and the correlation of the points."""

    slope: float
    intercept: float
    correlation: Correlation


def regression(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> Line | None:
    """The line through points; None where x has fewer than two different values."""
    if len(x) < 2 or _constant(x):
        return None
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return Line(slope, float(y.mean() - slope * x.mean()), pearson(x, y))


def _constant(values: np.ndarray) -> bool:
    # normalised ratios that should be equal differ in their last bits
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())


def _unit(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    # scaled by the largest first, so that tiny or huge values do not under- or overflow when squared
    centred = centred / np.abs(centred).max()
    return np.asarray(centred / np.linalg.norm(centred))
