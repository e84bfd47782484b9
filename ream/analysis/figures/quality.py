"""The first figure of the page: quality against size, with the model that is chosen at each size."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.style import WIDTH, styles
from ream.analysis.numbers.choice import KL, Candidate, Choice, Quality, best_of_methods, common_quality
from ream.analysis.results.methods import method_place
from ream.analysis.tables.table import Column, Table, Value
from ream.evaluation.scores import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "quality-against-size"
HEIGHT = 3.9  # inches


def quality_against_size(
    candidates: Sequence[Candidate], made: Sequence[Choice], original: Cell, among: Iterable[str] = ()
) -> "Figure":
    """A line per method from the original through its best mix at each size, and a ring around the chosen models.

    The measure is the first that all models have (`common_quality`); thin bars are its 95% intervals, the dashed line
    is the original's value.

    Args:
        candidates: all models, at any sizes.
        made: the choices at the sizes.
        original: the original's scores.
        among: all methods of the report (`styles`).

    Raises:
        ValueError: no model has any measure.
    """
    from matplotlib.figure import Figure

    quality = _quality(candidates)
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    reference = _of_original(original, quality)
    lines = _lines(candidates, quality)
    look = styles(lines, among)
    for method, style in look.items():
        line = lines[method]
        points = [(_size(one, original), quality.value(one) or 0.0) for one in line]
        start = [] if reference is None else [(100.0, reference)]
        axis.plot(*zip(*start, *points, strict=True), color=style.colour, linewidth=1.2, alpha=0.8)
        axis.plot(*zip(*points, strict=True), color=style.colour, marker=style.marker, linestyle="", label=method)
        _bars(axis, line, original, quality, style.colour)
    if reference is not None:
        axis.axhline(reference, color="black", linestyle="--", linewidth=1, label="original")
    chosen = [(_size(choice.chosen, original), quality.value(choice.chosen)) for choice in made]
    known = [(x, y) for x, y in chosen if y is not None]
    if known:
        axis.plot(*zip(*known, strict=True), marker="o", markersize=14, markerfacecolor="none", linestyle="",
                  color="black", markeredgewidth=1.2, label="chosen")  # fmt: skip
    axis.set_xlabel("parameters (% of the original)")
    axis.set_ylabel(quality.axis)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def table_of_quality(candidates: Sequence[Candidate], made: Sequence[Choice], original: Cell) -> Table:
    """The numbers that the figure shows, a row per marker."""
    quality = _quality(candidates)
    chosen = {id(choice.chosen) for choice in made}
    lines: list[tuple[Value, ...]] = []
    intervals: dict[tuple[int, int], tuple[float, float]] = {}
    for method, line in _lines(candidates, quality).items():
        for one in line:
            interval = quality.interval(one)
            if interval is not None:
                intervals[len(lines), 4] = interval.low, interval.high
            lines.append((method, one.row.mix or None, one.row.experts, _size(one, original), quality.value(one),
                          "yes" if id(one) in chosen else "no"))  # fmt: skip
    columns = (
        Column("method"), Column("mix"), Column("experts"), Column("% of the original's parameters", 1),
        Column(quality.name, quality.digits), Column("chosen"),
    )  # fmt: skip
    return Table(NAME, f"Quality against size: {quality.axis}", columns, tuple(lines), intervals=intervals)


def _quality(candidates: Sequence[Candidate]) -> Quality:
    """The measure of the vertical axis."""
    quality = common_quality(candidates)
    if quality is None:
        raise ValueError("no model has a measure of quality")
    return quality


def _of_original(original: Cell, quality: Quality) -> float | None:
    """The original's value: its divergence from itself is 0."""
    if quality is KL:
        return 0.0
    values = {"held-out loss": original.mean_loss, "AVG": original.avg, "GEN": original.gen, "MC": original.mc}
    return values[quality.name]


def _lines(candidates: Sequence[Candidate], quality: Quality) -> dict[str, list[Candidate]]:
    """Method to its best model at each size, from large to small; methods in their order."""
    by_method: dict[str, list[Candidate]] = {}
    for experts in sorted({one.row.experts for one in candidates}, reverse=True):
        for one in best_of_methods([one for one in candidates if one.row.experts == experts], quality):
            by_method.setdefault(one.row.method, []).append(one)
    return dict(sorted(by_method.items(), key=lambda line: method_place(line[0])))


def _size(candidate: Candidate, original: Cell) -> float:
    """The model's parameters, in percent of the original's."""
    return 100 * candidate.cell.parameters / original.parameters


def _bars(axis: "Axes", line: Sequence[Candidate], original: Cell, quality: Quality, colour: str) -> None:
    """The 95% intervals of one method's models."""
    for one in line:
        interval = quality.interval(one)
        if interval is not None:
            x = _size(one, original)
            axis.plot([x, x], [interval.low, interval.high], color=colour, linewidth=1, alpha=0.45)
