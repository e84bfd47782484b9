"""Figure 5: rank of the hidden states before the head against MC, GEN and AVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ream.analysis.figures.style import face, label, panels, styles
from ream.analysis.numbers.correlation import Line, regression
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.table import Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = {"mc": "MC (%)", "gen": "GEN (%)", "avg": "AVG (%)"}


@dataclass(frozen=True)
class RankPoint:
    """A model's scores and the mean rank of its hidden states (`ream.evaluation.rank.Ranks`)."""

    row: Row
    rank: float


def rank_lines(points: Sequence[RankPoint]) -> dict[str, Line | None]:
    """Least-squares line of each measure over the rank, originals aside; None where there is no line."""
    lines = {}
    for measure in MEASURES:
        known = [(point.rank, getattr(point.row, measure)) for point in points
                 if point.row.method != ORIGINAL and getattr(point.row, measure) is not None]  # fmt: skip
        columns = np.array(known, dtype=float).reshape(len(known), 2)
        lines[measure] = regression(columns[:, 0], columns[:, 1])
    return lines


def table_of_ranks(points: Sequence[RankPoint], name: str = "numerical rank") -> Table:
    """What figure 5 shows, a row a model."""
    lines = [(point.row.method, point.row.mix or None, point.row.experts, point.row.origin, point.rank, point.row.mc,
              point.row.gen, point.row.avg) for point in points]  # fmt: skip
    columns = (
        Column("method"), Column("mix"), Column("experts"), Column("results"), Column(name, 1), Column("MC", 1),
        Column("GEN", 1), Column("AVG", 1),
    )  # fmt: skip
    return Table("table-ranks", f"Mean {name} of the hidden states before the head, and scores", columns, tuple(lines))


def rank_against_scores(points: Sequence[RankPoint], name: str = "numerical rank") -> "Figure":
    """Figure 5: a panel a measure that is known, a marker a model, the regression line with r and its interval.

    Args:
        points: of one original.
        name: which rank it is.

    Raises:
        ValueError: no point has a score.
    """
    shown = [measure for measure in MEASURES if any(getattr(point.row, measure) is not None for point in points)]
    if not shown:
        raise ValueError("no model has both a rank and a score")
    look = styles(point.row.method for point in points if point.row.method != ORIGINAL)
    several = len({point.row.origin for point in points}) > 1
    lines = rank_lines(points)
    figure, axes = panels(len(shown), 2.3)
    for axis, measure in zip(axes, shown, strict=True):
        for method, style in look.items():
            of_method = [point for point in points
                         if point.row.method == method and getattr(point.row, measure) is not None]  # fmt: skip
            for origin in dict.fromkeys(point.row.origin for point in of_method):
                own = [point for point in of_method if point.row.origin == origin]
                axis.plot([point.rank for point in own], [getattr(point.row, measure) for point in own], linestyle="",
                          marker=style.marker, color=style.colour, markerfacecolor=face(style, origin),
                          label=label(method, origin, several))  # fmt: skip
        for point in points:
            if point.row.method == ORIGINAL and getattr(point.row, measure) is not None:
                axis.plot([point.rank], [getattr(point.row, measure)], "k*", markersize=10, label=ORIGINAL)
        line = lines[measure]
        if line is not None:
            ranks = [point.rank for point in points if point.row.method != ORIGINAL]
            ends = np.array([min(ranks), max(ranks)])
            axis.plot(ends, line.slope * ends + line.intercept, color="black", linewidth=1, linestyle="--")
            axis.set_title(_said(line), fontsize=9)
        axis.set_ylabel(MEASURES[measure])
    axes[-1].set_xlabel(name)
    entries = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _said(line: Line) -> str:
    found = line.correlation
    if found.r is None:
        return f"r is not defined: {found.undefined}"
    if found.low is None or found.high is None:
        return f"r = {found.r:.2f} ({found.undefined})"
    return f"r = {found.r:.2f} ({found.low:.2f} to {found.high:.2f})"
