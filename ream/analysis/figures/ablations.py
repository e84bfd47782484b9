"""Figure 4a: what each part of a method is worth, as differences of its variants from the whole."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.style import Style, distinct, face, label, panels, share_legend
from ream.analysis.numbers.ablations import MEASURES, differences, mean_intervals
from ream.analysis.numbers.intervals import Interval
from ream.analysis.numbers.mixes import Series
from ream.analysis.results.methods import WHOLE
from ream.analysis.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ablation_differences(rows: Sequence[Row], whole: str = WHOLE) -> "Figure":
    """Figure 4a: a panel per measure, a line per variant with a marker per mix and a bar for their mean.

    Where standard errors are known, the bar has a 95% interval; a difference whose interval contains 0 may be noise.

    Args:
        rows: rows of one model: the whole method and its variants.
        whole: the whole method.

    Raises:
        ValueError: rows of several models, or no variant shares a mix with the whole method.
    """
    by_measure = {measure: differences(rows, measure, whole) for measure in MEASURES}
    by_measure = {measure: values for measure, values in by_measure.items() if values}
    if not by_measure:
        raise ValueError(f"no variant of {whole} was run with a mix of {whole}")
    variants = list(dict.fromkeys(series for values in by_measure.values() for series in values))
    mixes = list(dict.fromkeys(mix for values in by_measure.values() for by_mix in values.values() for mix in by_mix))
    several = len({series.origin for series in variants}) > 1
    look = dict(zip(mixes, distinct(len(mixes)), strict=True))
    names = [label(series.method.removeprefix(f"{whole}-"), series.origin, several) for series in variants]
    figure, axes = panels(len(by_measure), 0.6 + 0.42 * len(variants))
    intervals = {measure: mean_intervals(rows, measure, whole) for measure in by_measure}
    for axis, (measure, values) in zip(axes, by_measure.items(), strict=True):
        _draw(axis, variants, values, intervals[measure], look)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(variants)), names)
        axis.set_ylim(len(variants) - 0.5, -0.5)
        axis.set_xlabel(f"difference in {MEASURES[measure]} from {whole} (points)")
    title = "mix; black: 95% interval of the mean" if any(intervals.values()) else "mix"
    share_legend(figure, axes, columns=2, title=title)
    return figure


def _draw(
    axis: "Axes", variants: Sequence[Series], values: Mapping[Series, Mapping[str, float]],
    intervals: Mapping[Series, Interval], look: Mapping[str, Style],
) -> None:  # fmt: skip
    """The lines of the variants in one panel."""
    for place, series in enumerate(variants):
        by_mix = values.get(series, {})
        if by_mix:
            axis.barh(place, sum(by_mix.values()) / len(by_mix), height=0.6, color="#bbbbbb", zorder=1)
        if series in intervals:
            low, high = intervals[series].low, intervals[series].high
            axis.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|", markersize=7)
        for mix, difference in by_mix.items():
            axis.plot([difference], [place], linestyle="", marker=look[mix].marker, color=look[mix].colour,
                      markersize=7, markerfacecolor=face(look[mix], series.origin), label=mix)  # fmt: skip
