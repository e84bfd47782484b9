"""How figures look: one width for phones and columns of print, colours and markers of the methods."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ream.analysis.results.methods import BEYOND, method_place
from ream.analysis.results.rows import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, then three of Paul Tol's, which most colour-blind people can tell apart; the original is
# black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#882255", "#332288")
MARKERS = "osD^vPXhp"
WIDTH = 4.2  # inches; matplotlib's 10 points are then 12 pixels on a phone 390 pixels wide

# In a fixed order, so that each of these methods looks the same in all figures, whatever else they show.
KNOWN = ("ream", "reap", "hc-smoe", "frequency", "m-smoe", "ean", *BEYOND)


@dataclass(frozen=True)
class Style:
    """Colour and marker; no two methods of a figure share both."""

    colour: str
    marker: str


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """Style of each method, in the methods' order: known ones always have the same, others get the next free ones."""
    wanted = set(methods)
    others = sorted(wanted - set(KNOWN), key=method_place)
    given = dict(zip((*KNOWN, *others), distinct(len(KNOWN) + len(others)), strict=True))
    return {method: given[method] for method in sorted(wanted, key=method_place)}


def distinct(count: int) -> list[Style]:
    """Styles that differ: the colours in order, with other markers in each further round; at most 81 differ."""
    places = [(turn, place) for turn in range(len(MARKERS)) for place in range(len(COLOURS))]
    ways = [Style(COLOURS[place], MARKERS[(place + turn) % len(MARKERS)]) for turn, place in places]
    return [ways[number % len(ways)] for number in range(count)]


def panels(count: int, height: float) -> tuple["Figure", list["Axes"]]:
    """A figure of the common width with axes one below the other.

    Args:
        count: number of axes.
        height: height of each, in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.9 + height * count), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)[:, 0].tolist()
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    return figure, axes


def share_legend(figure: "Figure", axes: Sequence["Axes"], columns: int, title: str | None = None) -> None:
    """Put one legend below all axes, with each label once."""
    entries = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False,
                  title=title)  # fmt: skip


def face(style: Style, origin: str) -> str:
    """Fill colour of a marker: our markers are filled, those of the paper and of other results are hollow."""
    return style.colour if origin == OURS else "none"


def label(method: str, origin: str, several: bool) -> str:
    """Name of a series in a legend; it gives the origin only where there are several."""
    return f"{method} ({origin})" if several else method
