"""Figure 5: rank of the hidden states before the head against MC, GEN and AVG."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ream.analysis.figures.style import Style, face, label, panels, share_legend, styles
from ream.analysis.numbers.correlation import Line
from ream.analysis.numbers.ranks import RankPoint, rank_lines
from ream.analysis.results.rows import ORIGINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"mc": "MC (%)", "gen": "GEN (%)", "avg": "AVG (%)"}


def rank_against_scores(
    points: Sequence[RankPoint], name: str = "numerical rank", among: Iterable[str] = ()
) -> "Figure":
    """Figure 5: a panel per known measure, a marker per model, the regression line with r and its interval.

    Args:
        points: compressed models of one original, and the original.
        name: the kind of rank.
        among: all methods of the report (`styles`).

    Raises:
        ValueError: no point has a score.
    """
    shown = [measure for measure in LABELS if any(getattr(point.row, measure) is not None for point in points)]
    if not shown:
        raise ValueError("no model has both a rank and a score")
    look = styles((point.row.method for point in points if point.row.method != ORIGINAL), among)
    several = len({point.row.origin for point in points}) > 1
    lines = rank_lines(points)
    figure, axes = panels(len(shown), 2.3)
    for axis, measure in zip(axes, shown, strict=True):
        _draw(axis, points, measure, look, several)
        line = lines[measure]
        if line is not None:
            ranks = [point.rank for point in points if point.row.method != ORIGINAL]
            ends = np.array([min(ranks), max(ranks)])
            axis.plot(ends, line.slope * ends + line.intercept, color="black", linewidth=1, linestyle="--")
            axis.set_title(_title(line), fontsize=9)
        axis.set_ylabel(LABELS[measure])
    axes[-1].set_xlabel(name)
    share_legend(figure, axes, columns=3)
    return figure


def _draw(axis: "Axes", points: Sequence[RankPoint], measure: str, look: Mapping[str, Style], several: bool) -> None:
    """The markers of one panel; those of compressed models lie below those of the original."""
    for method, style in look.items():
        of_method = [point for point in points
                     if point.row.method == method and getattr(point.row, measure) is not None]  # fmt: skip
        for origin in dict.fromkeys(point.row.origin for point in of_method):
            members = [point for point in of_method if point.row.origin == origin]
            axis.plot([point.rank for point in members], [getattr(point.row, measure) for point in members],
                      linestyle="", marker=style.marker, color=style.colour, markerfacecolor=face(style, origin),
                      label=label(method, origin, several))  # fmt: skip
    for point in points:
        if point.row.method == ORIGINAL and getattr(point.row, measure) is not None:
            axis.plot([point.rank], [getattr(point.row, measure)], "k*", markersize=10, label=ORIGINAL)


def _title(line: Line) -> str:
    """The correlation of a panel in words."""
    correlation = line.correlation
    if correlation.r is None:
        return f"r is not defined: {correlation.undefined}"
    if correlation.low is None or correlation.high is None:
        return f"r = {correlation.r:.2f} ({correlation.undefined})"
    return f"r = {correlation.r:.2f} ({correlation.low:.2f} to {correlation.high:.2f})"
