"""The overview: score against total parameters, for all models and methods (`held_out_loss` has the loss)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from ream.analysis.figures.style import MARKERS, panels, styles
from ream.analysis.numbers.overview import OverviewPoint, Sizes, code_measure, is_original, overview_points
from ream.analysis.results.rows import ORIGINAL, OURS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Dash = Literal["-", "--", ":", "-."]
LINES: tuple[Dash, ...] = ("--", ":", "-.")  # of the paper's and of imported results; ours are solid


def overview_of_models(rows: Sequence[Row], parameters: Sizes, among: Iterable[str] = ()) -> "Figure":
    """A panel for code and one for MC: a colour per method, a line from the original through its sizes.

    Markers tell the methods apart, or the models where there are several. Ours are filled, others are hollow, with line
    styles of their own; originals are black. The code panel shows `code_measure`; a panel without points is left out.

    Args:
        rows: see `overview_points`.
        parameters: see `overview_points`.
        among: all methods of the report (`styles`).

    Raises:
        ValueError: no row has both a score and known parameters.
    """
    points = overview_points(rows, parameters)
    titles = {"code": f"{code_measure(rows)} (%)", "mc": "MC (%)"}
    shown = [measure for measure in titles if any(getattr(point, measure) is not None for point in points)]
    if not shown:
        raise ValueError("no model has both a score and known parameters")
    smallest, largest = min(point.parameters for point in points), max(point.parameters for point in points)
    models = list(dict.fromkeys(point.row.model for point in points))
    markers = {model: MARKERS[place % len(MARKERS)] for place, model in enumerate(models)}
    dashes = _dashes([point.row.origin for point in points])
    look = styles((point.row.method for point in points if not is_original(point)), among)
    colours = {method: style.colour for method, style in look.items()}
    by_method = {method: style.marker for method, style in look.items()} if len(models) == 1 else {}
    unit, unit_name = (1e9, "billion") if largest >= 1e9 else (1e6, "million")
    figure, axes = panels(len(shown), 2.7)
    for axis, measure in zip(axes, shown, strict=True):
        known = [point for point in points if getattr(point, measure) is not None]
        for model, marker in markers.items():
            for origin, dash in dashes.items():
                members = [point for point in known if (point.row.model, point.row.origin) == (model, origin)]
                _draw(
                    axis, members, measure, unit, dict.fromkeys([*colours, ORIGINAL], marker) | by_method, dash, colours
                )
        axis.set_title(titles[measure], fontsize=9)
        _logarithmic(axis, smallest / unit, largest / unit)
    axes[-1].set_xlabel(f"total parameters ({unit_name})")
    _legend(figure, colours, by_method, {} if by_method else markers, dashes)
    return figure


def _dashes(origins: Sequence[str]) -> dict[str, Dash]:
    """The line style of each origin: ours is solid, others differ."""
    others = list(dict.fromkeys(origin for origin in origins if origin != OURS))
    return {
        origin: "-" if origin == OURS else LINES[others.index(origin) % len(LINES)] for origin in dict.fromkeys(origins)
    }


def _draw(
    axis: "Axes", points: Sequence[OverviewPoint], measure: str, unit: float, markers: Mapping[str, str], dashes: Dash,
    colours: Mapping[str, str],
) -> None:  # fmt: skip
    """The lines of one model and origin, with the markers above them."""
    originals = [point for point in points if is_original(point)]
    for method, colour in colours.items():
        of_method = [point for point in points if point.row.method == method]
        line = [*originals, *of_method] if of_method else []
        places = [(point.parameters / unit, getattr(point, measure)) for point in line]
        axis.plot(*zip(*places, strict=True), color=colour, linewidth=1.2, linestyle=dashes) if places else None
        for point in of_method:
            axis.plot([point.parameters / unit], [getattr(point, measure)], linestyle="",
                      marker=markers[method], color=colour,
                      markersize=6, markerfacecolor=_face(colour, point.row.origin), zorder=3)  # fmt: skip
    for point in originals:
        axis.plot([point.parameters / unit], [getattr(point, measure)], linestyle="",
                  marker=markers[ORIGINAL], color="black",
                  markersize=7, markerfacecolor=_face("black", point.row.origin), zorder=4)  # fmt: skip


def _face(colour: str, origin: str) -> str:
    """Fill colour of a marker; hollow ones are white, so that no line shows through them."""
    return colour if origin == OURS else "white"


def _logarithmic(axis: "Axes", smallest: float, largest: float) -> None:
    """Make the x axis logarithmic, with round numbers: matplotlib's default has none between 10 and 100."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

    axis.set_xscale("log")
    axis.set_xlim(smallest / 1.1, largest * 1.1)
    narrow = largest < 10 * smallest
    axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]) if narrow else LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())


def _legend(
    figure: "Figure", colours: Mapping[str, str], by_method: Mapping[str, str], markers: Mapping[str, str],
    dashes: Mapping[str, Dash],
) -> None:  # fmt: skip
    """A legend of methods, with their markers, of models, with theirs, and, where there are several, of origins."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=2, marker=by_method.get(method, ""), label=method)
               for method, colour in colours.items()]  # fmt: skip
    for model, marker in markers.items():
        name = model.rstrip("/").rsplit("/", 1)[-1]
        handles.append(Line2D([], [], linestyle="", marker=marker, color="grey", label=name))
    handles.append(Line2D([], [], linestyle="", marker="o", color="black", label="original"))
    for origin, line in dashes.items() if len(dashes) > 1 else ():
        handles.append(Line2D([], [], color="grey", linestyle=line, marker="o", label=origin,
                              markerfacecolor=_face("grey", origin)))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
