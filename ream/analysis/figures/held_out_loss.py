"""Held-out loss, MC and GEN of all models against their parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.style import Style, styles
from ream.evaluation.scores import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = {"mean_loss": "mean held-out loss (nats)", "mc": "MC (%)", "gen": "GEN (%)"}


def overview(cells: Sequence[Cell], among: Iterable[str] = ()) -> "Figure":
    """Loss, MC and GEN against parameters: a column per mix, a line per method, starting at the original.

    Args:
        cells: cells of any mixes and methods; measures that no cell has are left out.
        among: all methods of the report (`styles`).
    """
    from matplotlib.figure import Figure

    mixes = list(dict.fromkeys(cell.mix for cell in cells if cell.mix is not None)) or [""]
    methods = list(dict.fromkeys(cell.method for cell in cells if cell.method is not None))
    look = styles(methods, among)
    shown = [name for name in MEASURES if any(getattr(cell, name) is not None for cell in cells)]
    width = 1 + 3.2 * len(mixes)
    figure = Figure(figsize=(width, 0.8 + 2.4 * max(1, len(shown))), layout="constrained")
    axes = figure.subplots(max(1, len(shown)), len(mixes), sharex=True, sharey="row", squeeze=False)
    for row, name in zip(axes, shown, strict=False):
        row[0].set_ylabel(MEASURES[name])
        for axis, mix in zip(row, mixes, strict=True):
            _lines(axis, [cell for cell in cells if cell.mix in (mix, None)], look, name)
            axis.grid(alpha=0.3)
    for axis, mix in zip(axes[0], mixes, strict=True):
        axis.set_title(mix)
    for axis in axes[-1]:
        axis.set_xlabel("parameters (million)")
    entries = dict(zip(*reversed(axes[0][0].get_legend_handles_labels()), strict=True))
    if entries:
        columns = min(4, round(width / 1.9))  # an entry takes about 1.9 inches
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _lines(axis: "Axes", cells: Sequence[Cell], look: Mapping[str, Style], name: str) -> None:
    """The lines of the methods in one panel, and a star at the original."""
    originals = [cell for cell in cells if cell.method is None]
    for method, style in look.items():
        of_method = [cell for cell in cells if cell.method == method]
        line = sorted([*originals, *of_method], key=lambda cell: cell.parameters)
        points = [(cell.parameters / 1e6, getattr(cell, name)) for cell in line if getattr(cell, name) is not None]
        if of_method and points:
            x, y = zip(*points, strict=True)
            axis.plot(x, y, label=method, color=style.colour, marker=style.marker, markersize=4, linewidth=1.2)
    for cell in originals:
        if getattr(cell, name) is not None:
            axis.plot([cell.parameters / 1e6], [getattr(cell, name)], "k*", markersize=9, label="original", zorder=3)
