"""Figure 2 (6 at the second size): MC against GEN of every mix."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ream.analysis.figures.mixes import drawable, name_axes, several_origins
from ream.analysis.figures.style import face, label, panels, styles
from ream.analysis.numbers.row_intervals import intervals_of
from ream.analysis.results.rows import ORIGINAL, OURS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def trade_off(rows: Sequence[Row], experts: int, source: str = "code", among: Iterable[str] = ()) -> "Figure":
    """Figure 2: MC against GEN, a marker per mix whose area grows with the source's share; originals are stars.

    Thin lines are the 95% intervals of MC and GEN where standard errors are known.

    Args:
        rows: rows of one model, originals too.
        experts: the size that is shown.
        source: the source whose share the markers show.
        among: all methods of the report (`styles`).

    Raises:
        ValueError: rows of several models, or none with both means at this size.
    """
    series = drawable(rows, experts)
    several = several_origins(series)
    look = styles((one.method for one in series), among)
    figure, (axis,) = panels(1, 3.6)
    for one, points in series.items():
        shares = points.shares.get(source, np.zeros(len(points.rows)))
        marker: dict[str, Any] = {
            "marker": look[one.method].marker,
            "facecolors": face(look[one.method], one.origin),
            "edgecolors": look[one.method].colour,
        }
        axis.scatter(points.points[:, 0], points.points[:, 1], s=area(shares), alpha=0.8, **marker)
        axis.scatter([], [], s=area(0.25), label=label(*one, several), **marker)  # the legend's marker
        _cross(axis, points.rows, look[one.method].colour)
    for row in rows:
        if row.method == ORIGINAL and row.mc is not None and row.gen is not None:
            axis.scatter([row.mc], [row.gen], s=120, marker="*", edgecolors="black",
                         facecolors="black" if row.origin == OURS else "none",
                         label=label(ORIGINAL, row.origin, several))  # fmt: skip
            _cross(axis, [row], "black")
    for share in (0.0, 0.5, 1.0):
        axis.scatter([], [], s=area(share), color="grey", label=f"{share:.0%} {source}")
    name_axes(axis, experts)
    figure.legend(loc="outside lower center", ncols=2 if several else 3, frameon=False)
    return figure


def area(share: float | np.ndarray) -> float | np.ndarray:
    """Area of a marker in square points: still visible at a share of 0, eight times as large at 1."""
    return 25 + 175 * share


def _cross(axis: "Axes", rows: Sequence[Row], colour: str) -> None:
    """The intervals of MC (horizontal) and of GEN (vertical) at each row's point."""
    for row in rows:
        if row.mc is None or row.gen is None:
            continue
        intervals = intervals_of([row])
        if intervals.mc is not None:
            axis.plot([intervals.mc.low, intervals.mc.high], [row.gen, row.gen], color=colour, linewidth=0.7, alpha=0.5)
        if intervals.gen is not None:
            axis.plot([row.mc, row.mc], [intervals.gen.low, intervals.gen.high], color=colour, linewidth=0.7, alpha=0.5)
