"""How figures look: one width for phones and columns of print, colours and markers of the methods."""

from collections.abc import Iterable
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

# Fixed, so that a method looks the same in all figures whatever else they show.
KNOWN = ("ream", "reap", "hc-smoe", "frequency", "m-smoe", "ean", *BEYOND)


@dataclass(frozen=True)
class Style:
    """Colour and marker; no two methods of a figure share both."""

    colour: str
    marker: str


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """Style of each method: the known ones always have theirs, others take what is left in the methods' order."""
    wanted = set(methods)
    others = sorted(wanted - set(KNOWN), key=method_place)
    given = dict(zip((*KNOWN, *others), distinct(len(KNOWN) + len(others)), strict=True))
    return {method: given[method] for method in sorted(wanted, key=method_place)}


def distinct(count: int) -> list[Style]:
    """Styles that differ: colours in their order, with other markers each time they come again; 81 at most differ."""
    places = [(turn, place) for turn in range(len(MARKERS)) for place in range(len(COLOURS))]
    ways = [Style(COLOURS[place], MARKERS[(place + turn) % len(MARKERS)]) for turn, place in places]
    return [ways[number % len(ways)] for number in range(count)]


def panels(count: int, height: float) -> tuple["Figure", list["Axes"]]:
    """A figure of the common width, with axes below each other, each of that height in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.9 + height * count), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)[:, 0].tolist()
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    return figure, axes


def face(style: Style, origin: str) -> str:
    """Our markers are filled, those of the paper and of other results are hollow."""
    return style.colour if origin == OURS else "none"


def label(method: str, origin: str, several: bool) -> str:
    """A series in a legend; the origin only where there are several."""
    return f"{method} ({origin})" if several else method
