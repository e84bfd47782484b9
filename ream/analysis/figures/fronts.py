"""Figure 3b (7b at the second size): Pareto fronts of the mixes."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ream.analysis.figures.mixes import drawable, name_axes, several_origins
from ream.analysis.figures.style import face, label, panels, styles
from ream.analysis.numbers.mixes import fronts_of
from ream.analysis.results.rows import OURS, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pareto_fronts(rows: Sequence[Row], experts: int, among: Iterable[str] = ()) -> "Figure":
    """Figure 3b: the mixes of each series, with the Pareto front as steps; the legend gives hypervolume and n of all.

    Args:
        rows: rows of one model.
        experts: the size that is shown.
        among: all methods of the report (`styles`).

    Raises:
        ValueError: rows of several models, or none with both means at this size.
    """
    series = drawable(rows, experts)
    several = several_origins(series)
    look = styles((one.method for one in series), among)
    figure, (axis,) = panels(1, 3.6)
    for one, front in fronts_of(series).items():
        points, style = series[one].points, look[one.method]
        axis.plot(points[:, 0], points[:, 1], linestyle="", marker=style.marker, color=style.colour, markersize=5,
                  alpha=0.35, markerfacecolor=face(style, one.origin))  # fmt: skip
        members = np.unique(points[front.members], axis=0)  # sorted by MC, without copies
        # a point dominates what lies left of it and below: GEN drops just to the right of each MC
        name = f"{label(*one, several)}: HV {front.hypervolume:.1f}, {front.size}/{len(points)}"
        axis.plot(members[:, 0], members[:, 1], drawstyle="steps-pre", marker=style.marker, color=style.colour,
                  markersize=5, linewidth=1.4, markerfacecolor=face(style, one.origin), label=name,
                  linestyle="-" if one.origin == OURS or not several else "--")  # fmt: skip
    name_axes(axis, experts)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure
