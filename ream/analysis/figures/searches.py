"""Figures of a search of mixes: the front, the hypervolume over the trials, a ternary plot, what each source does."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from ream.analysis.figures.style import COLOURS, panels
from ream.analysis.numbers.pareto import front
from ream.analysis.numbers.searches import Searched, sensitivities, volumes
from ream.analysis.tables.searches import table_of_sensitivities, table_of_trials, table_of_volumes
from ream.analysis.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRIED, KNOWN, BEST = "#999999", COLOURS[1], COLOURS[0]
MOST_PAIRS = 6  # panels of a figure of more than two objectives
HEIGHT = np.sqrt(3) / 2  # of a triangle with sides of length 1
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, HEIGHT]])


@dataclass(frozen=True)
class SearchFigure:
    """A figure, its caption, and the table of the numbers that it shows."""

    name: str
    figure: "Figure"
    caption: str
    data: Table


def figures_of_search(searched: Searched) -> Iterator[SearchFigure]:
    """All figures of a search; the ternary plot where it has three sources."""
    name, record = searched.name, searched.record
    about = f"{record.method} at {record.experts} experts"
    trials = f"search-front-{name}"
    yield SearchFigure(
        trials, fronts(searched),
        f"Front of the mixes found for {about}. One marker per mix that was measured on all of the search's text: grey "
        "ones were tried, orange ones are known mixes, blue ones are on the front. Down and to the left is better.",
        table_of_trials(searched, trials),
    )  # fmt: skip
    over = f"search-volume-{name}"
    yield SearchFigure(
        over, volume_curve(searched),
        f"Hypervolume over the trials for {about}. The area that the mixes so far dominate, on the text of the search; "
        "the dashed line is that of the known mixes.", table_of_volumes(searched, over),
    )  # fmt: skip
    if len(record.sources) == 3:
        place = f"search-ternary-{name}"
        yield SearchFigure(
            place, ternary(searched),
            f"Objectives over the mixes for {about}. One triangle per objective, with a source at each corner; darker "
            "is better. Squares are known mixes, rings are on the front.", table_of_trials(searched, place),
        )  # fmt: skip
    effects = f"search-sources-{name}"
    yield SearchFigure(
        effects, sensitivity(searched),
        f"What each source does for {about}. The change of each objective with ten more percentage points of the "
        "source at the even mix, by a polynomial fitted to all trials, with 95% intervals; left of zero it helps.",
        table_of_sensitivities(searched, effects),
    )  # fmt: skip


def fronts(searched: Searched) -> "Figure":
    """The trials on each pair of objectives, with the front of two as steps."""
    names, whole = searched.record.objectives, _whole(searched)
    pairs = list(combinations(range(len(names)), 2))[:MOST_PAIRS]
    figure, axes = panels(len(pairs), 3.2)
    known = np.isin(np.arange(len(searched.rows)), searched.known)
    member = np.array([row.front for row in searched.rows])
    for axis, (one, other) in zip(axes, pairs, strict=True):
        points = searched.values[:, [one, other]]
        for chosen, colour, marker, name in (
            (whole & ~known & ~member, TRIED, "o", "tried"),
            (known, KNOWN, "s", "known"),
            (member, BEST, "o", "front"),
        ):
            face, above = ("none" if name == "known" else colour), (3 if name == "front" else 2)
            axis.plot(*points[chosen].T, linestyle="", marker=marker, color=colour, label=name, markersize=5,
                      markerfacecolor=face, zorder=above)  # fmt: skip
        steps = np.unique(points[whole][front(-points[whole])], axis=0)
        axis.plot(*steps.T, drawstyle="steps-post", color=BEST, linewidth=1.2)
        axis.set_xlabel(f"{names[one]}: {searched.unit}")
        axis.set_ylabel(f"{names[other]}: {searched.unit}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def volume_curve(searched: Searched) -> "Figure":
    """The hypervolume after each trial."""
    after, known = volumes(searched)
    figure, (axis,) = panels(1, 2.4)
    axis.step(range(1, len(after) + 1), after, where="post", color=BEST, label="all mixes so far")
    axis.axhline(known, color=KNOWN, linestyle="--", label="known mixes")
    axis.set_xlabel("trials")
    axis.set_ylabel("hypervolume")
    axis.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def corners_of(ratios: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
    """Places of mixes in a triangle with corners at (0, 0), (1, 0) and (1/2, √3/2), a source at each."""
    places: np.ndarray = ratios @ CORNERS
    return places


def ternary(searched: Searched) -> "Figure":
    """The mixes of three sources in a triangle for each objective, coloured by it."""
    record = searched.record
    places = corners_of(np.array([[row.ratios[source] for source in record.sources] for row in searched.rows]))
    known = np.isin(np.arange(len(places)), searched.known)
    member = np.array([row.front for row in searched.rows])
    figure, axes = panels(len(record.objectives), 3.4)
    for place, (axis, name) in enumerate(zip(axes, record.objectives, strict=True)):
        _triangle(axis, record.sources)
        values = searched.values[:, place]
        for chosen, marker in ((~known, "o"), (known, "s")):
            x, y = places[chosen].T
            shown = axis.scatter(x, y, c=values[chosen], marker=marker, cmap="viridis", s=34, zorder=3,
                                 vmin=values.min(), vmax=values.max())  # fmt: skip
        x, y = places[member].T
        axis.scatter(x, y, marker="o", facecolors="none", edgecolors="black", s=90, zorder=4)
        figure.colorbar(shown, ax=axis, label=f"{name}: {searched.unit}", shrink=0.8)
    return figure


def _triangle(axis: "Axes", sources: list[str]) -> None:
    """The sides of the triangle, lines at every fifth, and the names of the sources at the corners."""
    axis.grid(visible=False)
    axis.set_axis_off()
    axis.set_aspect("equal")
    axis.plot(*CORNERS[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
    for corner in range(3):
        for share in (0.2, 0.4, 0.6, 0.8):
            ends = np.zeros((2, 3))
            ends[:, corner] = share
            ends[0, (corner + 1) % 3] = ends[1, (corner + 2) % 3] = 1 - share
            axis.plot(*corners_of(ends).T, color="#cccccc", linewidth=0.5)
    for name, (x, y), below in zip(sources, CORNERS, (True, True, False), strict=True):
        axis.text(x, y + (-0.05 if below else 0.03), name, ha="center", va="top" if below else "bottom")


def sensitivity(searched: Searched) -> "Figure":
    """The effect of each source on each objective, with intervals."""
    sources, found = searched.record.sources, sensitivities(searched)
    figure, (axis,) = panels(1, 0.5 + 0.28 * len(sources) * len(found))
    rows = [(objective, source) for objective in found for source in sources]
    for place, (objective, source) in enumerate(rows):
        effect = found[objective][0][source]
        colour = COLOURS[sources.index(source) % len(COLOURS)]
        axis.plot([effect.value], [place], marker="o", color=colour, linestyle="")
        if effect.low is not None and effect.high is not None:
            axis.plot([effect.low, effect.high], [place, place], color=colour, linewidth=1.2)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [f"{source} on {objective}" for objective, source in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("change with ten more percentage points")
    return figure


def _whole(searched: Searched) -> np.ndarray:
    """Which trials were measured on all sequences."""
    most = max(row.sequences for row in searched.rows)
    return np.array([row.sequences == most for row in searched.rows])
