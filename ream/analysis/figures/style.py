"""How figures look: one width for phones and columns of print, colours and markers of the methods."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ream.analysis.results.methods import METHODS, method_place
from ream.analysis.results.rows import ORIGINAL, OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Pairs of colours, on white and on the page's dark ground. They were chosen one after the other as the colour that is
# farthest in OKLab from those before it in both themes, also as people without green cones see it, with a contrast of
# at least 3 to 1 with the ground (WCAG 2.1). The original is black.
TONES = (
    ("#006db6", "#79beff"), ("#db6100", "#eb7021"), ("#00863d", "#63cd7f"), ("#aa559e", "#dd84cf"),
    ("#927924", "#bda453"), ("#619eaa", "#5f9ca8"), ("#186124", "#9fe7a3"), ("#005561", "#a0e6f3"),
    ("#613100", "#ffdec8"), ("#4992e7", "#4d95eb"), ("#aa0c0c", "#ffb1a6"), ("#ff0c79", "#ff3d83"),
    ("#866dff", "#9383fe"), ("#791892", "#efbcfe"), ("#8600ff", "#bba2fe"), ("#796179", "#c8adc8"),
    ("#c25561", "#ef7d87"), ("#c218ce", "#f257fe"), ("#ff5555", "#ee4447"), ("#ff0cff", "#d60ad6"),
)  # fmt: skip
COLOURS = tuple(light for light, _ in TONES)
MARKERS = "osD^vPXhp<>d"
WIDTH = 4.2  # inches; matplotlib's 10 points are then 12 pixels on a phone 390 pixels wide

# The methods that ship have fixed places, those that are compared most often the first.
FIRST = ("ream", "reap", "hc-smoe", "frequency", "m-smoe", "ean")
KNOWN = (*FIRST, *(method for method in METHODS if method not in (ORIGINAL, *FIRST)))


@dataclass(frozen=True)
class Style:
    """Colour on white, and marker; no two methods of a report share both.

    Attributes:
        tone: place of the colour in TONES.
        marker: matplotlib's name of the marker.
    """

    tone: int
    marker: str

    @property
    def colour(self) -> str:
        """The colour on white."""
        return COLOURS[self.tone]


def styles(methods: Iterable[str], among: Iterable[str] = ()) -> dict[str, Style]:
    """Style of each method, in the methods' order.

    The methods of KNOWN always have the same. Another name begins at a place that follows from its letters and takes
    the first free one from there, so that no two share a colour while there are colours, and later a colour and marker.

    Args:
        methods: those that are drawn.
        among: all methods of the report; with them, a method looks the same in all of its figures.
    """
    wanted = set(methods)
    everything = wanted | set(among)
    places = {method: KNOWN.index(method) for method in everything if method in KNOWN}
    taken = set(places.values())
    for method in sorted(everything - set(places), key=method_place):
        start = zlib.crc32(method.encode()) % len(TONES)
        rounds = (turn * len(TONES) + (start + step) % len(TONES)
                  for turn in range(len(everything)) for step in range(len(TONES)))  # fmt: skip
        places[method] = next(place for place in rounds if place not in taken)
        taken.add(places[method])
    return {method: _style(places[method]) for method in sorted(wanted, key=method_place)}


def distinct(count: int) -> list[Style]:
    """Styles that differ, for things that are no methods; at most 240 differ."""
    return [_style(place) for place in range(count)]


def _style(place: int) -> Style:
    """The style of a place: the colours in order, with other markers in each further round."""
    turn, tone = divmod(place, len(TONES))
    return Style(tone, MARKERS[(tone + turn) % len(MARKERS)])


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
