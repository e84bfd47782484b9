"""Pearson correlations with confidence intervals by Fisher's z, and least-squares lines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of two columns.

    Attributes:
        r: the coefficient; None where it is not defined, for the reason in ``undefined``.
        low: lower end of the confidence interval; None where r is not defined or there are fewer than 4 points.
        high: upper end of the confidence interval; None where there is no lower one.
        points: number of points.
        undefined: why there is no r, or no interval; empty where there are both.
    """

    r: float | None
    low: float | None
    high: float | None
    points: int
    undefined: str = ""


def pearson(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], confidence: float = 0.95) -> Correlation:
    """Pearson's r and its interval tanh(atanh r ± q / sqrt(n − 3)), q the normal quantile of the confidence.

    Both are scipy's; cases that scipy warns of are told apart first. An r of ±1 has an interval of width zero.

    Raises:
        ValueError: the columns differ in length, or a value is not finite.
    """
    from scipy.stats import pearsonr

    if len(x) != len(y):
        raise ValueError(f"{len(x)} values cannot correlate with {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a correlation needs finite values")
    n = len(x)
    if n < 2:
        return Correlation(None, None, None, n, "fewer than 2 points")
    if _constant(x) or _constant(y):
        return Correlation(None, None, None, n, "a column is constant")
    # centred, because scipy warns of columns that vary little around a large mean
    result = pearsonr(x - x.mean(), y - y.mean())
    r = float(result.statistic)
    if n < 4:
        return Correlation(r, None, None, n, "fewer than 4 points for an interval")
    if abs(r) > 1 - 1e-15:  # on a line, up to the last bits of float64
        r = math.copysign(1.0, r)
        return Correlation(r, r, r, n)
    low, high = result.confidence_interval(confidence)
    return Correlation(r, float(low), float(high), n)


def correlations(
    columns: Mapping[str, Float64[np.ndarray, " n"]], confidence: float = 0.95
) -> dict[tuple[str, str], Correlation]:
    """The correlation of every pair of columns, in their order; (a, b) only, not (b, a)."""
    names = list(columns)
    return {
        (one, other): pearson(columns[one], columns[other], confidence)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }


@dataclass(frozen=True)
class Line:
    """The least-squares line y = slope · x + intercept, and the correlation of the points."""

    slope: float
    intercept: float
    correlation: Correlation


def regression(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> Line | None:
    """The least-squares line through points; None where x has fewer than two different values."""
    from scipy.stats import linregress

    if len(x) < 2 or _constant(x):
        return None
    fit = linregress(x, y)
    return Line(float(fit.slope), float(fit.intercept), pearson(x, y))


def _constant(values: np.ndarray) -> bool:
    """Whether all values are equal up to rounding: normalised ratios that should be equal differ in their last bits."""
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())
