"""Figure 3a (7a at the second size): correlations of the sources' shares with MC and GEN."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.mixes import drawable, several_origins
from ream.analysis.figures.style import face, label, panels, styles
from ream.analysis.numbers.mixes import correlations_of
from ream.analysis.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def correlation_dots(rows: Sequence[Row], experts: int, among: Iterable[str] = ()) -> "Figure":
    """Figure 3a: Pearson's r with its 95% interval, a line per pair of columns, a dot per series.

    Where r is not defined the line gives the reason instead of a dot.

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
    by_series = {one: correlations_of(points) for one, points in series.items()}
    pairs = list(next(iter(by_series.values())))
    figure, (axis,) = panels(1, 0.4 + len(pairs) * (0.3 + 0.12 * len(series)))
    for number, one in enumerate(series):
        offset = (number - (len(series) - 1) / 2) * 0.75 / len(series)
        style = look[one.method]
        dots = [(place + offset, by_series[one][pair]) for place, pair in enumerate(pairs)]
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
