"""Figures 2, 3a and 3b (6 and 7 at the other size): what the calibration mix does to MC and GEN."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ream.analysis.figures.style import face, label, panels, styles
from ream.analysis.numbers.mixes import MixPoints, Series, correlations_of, fronts_of, series_of
from ream.analysis.numbers.row_intervals import intervals_of
from ream.analysis.results.rows import ORIGINAL, OURS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def trade_off(rows: Sequence[Row], experts: int, source: str = "code") -> "Figure":
    """Figure 2: MC against GEN, a marker a mix, its area growing with the source's share; the original a star.

    Thin lines are the 95% intervals of MC and GEN where standard errors are known.

    Args:
        rows: of one model, originals too.
        experts: the size that is shown.
        source: whose share the markers show.

    Raises:
        ValueError: rows of several models, or none with both means at this size.
    """
    series = _drawable(rows, experts)
    several = len({one.origin for one in series}) > 1
    look = styles(one.method for one in series)
    figure, (axis,) = panels(1, 3.6)
    for one, of_series in series.items():
        shares = of_series.shares.get(source, np.zeros(len(of_series.rows)))
        look_of: dict[str, Any] = {
            "marker": look[one.method].marker,
            "facecolors": face(look[one.method], one.origin),
            "edgecolors": look[one.method].colour,
        }
        axis.scatter(of_series.points[:, 0], of_series.points[:, 1], s=area(shares), alpha=0.8, **look_of)
        axis.scatter([], [], s=area(0.25), label=label(*one, several), **look_of)  # the legend's marker
        _cross(axis, of_series.rows, look[one.method].colour)
    for row in rows:
        if row.method == ORIGINAL and row.mc is not None and row.gen is not None:
            axis.scatter([row.mc], [row.gen], s=120, marker="*", edgecolors="black",
                         facecolors="black" if row.origin == OURS else "none",
                         label=label(ORIGINAL, row.origin, several))  # fmt: skip
            _cross(axis, [row], "black")
    for share in (0.0, 0.5, 1.0):
        axis.scatter([], [], s=area(share), color="grey", label=f"{share:.0%} {source}")
    _name(axis, experts)
    figure.legend(loc="outside lower center", ncols=2 if several else 3, frameon=False)
    return figure


def area(share: float | np.ndarray) -> float | np.ndarray:
    """Area of a marker in square points: visible at a share of 0, eight times as large at 1."""
    return 25 + 175 * share


def correlation_dots(rows: Sequence[Row], experts: int) -> "Figure":
    """Figure 3a: Pearson's r with its 95% interval, a line a pair of columns, a dot a series.

    Where r is not defined the line says why, instead of a dot.

    Raises:
        ValueError: see `trade_off`.
    """
    series = _drawable(rows, experts)
    several = len({one.origin for one in series}) > 1
    look = styles(one.method for one in series)
    found = {one: correlations_of(points) for one, points in series.items()}
    pairs = list(next(iter(found.values())))
    figure, (axis,) = panels(1, 0.4 + len(pairs) * (0.3 + 0.12 * len(series)))
    for number, one in enumerate(series):
        offset = (number - (len(series) - 1) / 2) * 0.75 / len(series)
        style = look[one.method]
        dots = [(place + offset, found[one][pair]) for place, pair in enumerate(pairs)]
        defined = [(y, value, value.r) for y, value in dots if value.r is not None]
        axis.plot([r for _, _, r in defined], [y for y, _, _ in defined], linestyle="", marker=style.marker,
                  markersize=6, color=style.colour, markerfacecolor=face(style, one.origin),
                  label=label(*one, several))  # fmt: skip
        for y, value, _ in defined:
            if value.low is not None and value.high is not None:
                axis.plot([value.low, value.high], [y, y], color=style.colour, linewidth=1.2)
        for y, value in dots:
            if value.r is None:
                axis.text(0, y, f"{label(*one, several)}: {value.undefined}", fontsize=7, ha="center", va="center")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlim(-1.05, 1.05)
    axis.set_xlabel(f"Pearson's r, 95% interval, {experts} experts")
    axis.set_yticks(range(len(pairs)), [f"{one}, {other}" for one, other in pairs])
    axis.set_ylim(len(pairs) - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncols=2 if several else 3, frameon=False)
    return figure


def pareto_fronts(rows: Sequence[Row], experts: int) -> "Figure":
    """Figure 3b: each series' mixes, its Pareto front as steps, and in the legend its hypervolume and n of its mixes.

    Raises:
        ValueError: see `trade_off`.
    """
    series = _drawable(rows, experts)
    several = len({one.origin for one in series}) > 1
    look = styles(one.method for one in series)
    figure, (axis,) = panels(1, 3.6)
    for one, front in fronts_of(series).items():
        points, style = series[one].points, look[one.method]
        axis.plot(points[:, 0], points[:, 1], linestyle="", marker=style.marker, color=style.colour, markersize=5,
                  alpha=0.35, markerfacecolor=face(style, one.origin))  # fmt: skip
        members = np.unique(points[front.members], axis=0)  # by MC, copies once
        # what a point dominates reaches left and down of it: GEN falls right after each MC
        name = f"{label(*one, several)}: HV {front.hypervolume:.1f}, {front.size}/{len(points)}"
        axis.plot(members[:, 0], members[:, 1], drawstyle="steps-pre", marker=style.marker, color=style.colour,
                  markersize=5, linewidth=1.4, markerfacecolor=face(style, one.origin), label=name,
                  linestyle="-" if one.origin == OURS or not several else "--")  # fmt: skip
    _name(axis, experts)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure


def _cross(axis: "Axes", rows: Sequence[Row], colour: str) -> None:
    """The intervals of MC, across, and of GEN, up and down, at each row's point."""
    for row in rows:
        if row.mc is None or row.gen is None:
            continue
        found = intervals_of([row])
        if found.mc is not None:
            axis.plot([found.mc.low, found.mc.high], [row.gen, row.gen], color=colour, linewidth=0.7, alpha=0.5)
        if found.gen is not None:
            axis.plot([row.mc, row.mc], [found.gen.low, found.gen.high], color=colour, linewidth=0.7, alpha=0.5)


def _drawable(rows: Sequence[Row], experts: int) -> dict[Series, MixPoints]:
    series = series_of(rows, experts)
    if not series:
        raise ValueError(f"no mix has both MC and GEN at {experts} experts")
    return series


def _name(axis: "Axes", experts: int) -> None:
    axis.set_xlabel(f"MC (%), {experts} experts")
    axis.set_ylabel("GEN (%)")
