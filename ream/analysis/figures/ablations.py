"""Figure 4a: what each part of a method is worth, as differences of its variants from the whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.style import distinct, face, label, panels
from ream.analysis.numbers.intervals import Interval
from ream.analysis.numbers.mixes import Series
from ream.analysis.numbers.row_intervals import intervals_between
from ream.analysis.results.methods import is_variant, method_place
from ream.analysis.results.rows import ORIGINAL, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = {"mc": "MC", "gen": "GEN", "avg": "AVG"}


def pairs(rows: Sequence[Row], measure: str, whole: str = "ream") -> dict[Series, dict[str, tuple[Row, Row]]]:
    """Variant to mix to its row and the whole method's, with the same mix, model, size and origin.

    Variants are those of `ream.analysis.methods.ABLATIONS`.

    Args:
        measure: a key of MEASURES, which both rows have.

    Raises:
        ValueError: the rows are of several models.
    """
    models = sorted({row.model for row in rows})
    if len(models) > 1:
        raise ValueError(f"ablations of several models do not compare: {', '.join(models)}")
    reference = {(row.origin, row.experts, row.mix_key): row for row in rows
                 if row.method == whole and getattr(row, measure) is not None}  # fmt: skip
    found: dict[Series, dict[str, tuple[Row, Row]]] = {}
    several = len({row.experts for row in rows if row.method != ORIGINAL}) > 1
    for row in sorted(rows, key=lambda row: (method_place(row.method), -row.experts)):
        other = reference.get((row.origin, row.experts, row.mix_key))
        if is_variant(row.method, whole) and getattr(row, measure) is not None and other is not None:
            mix = f"{row.mix} ({row.experts})" if several else row.mix
            found.setdefault(Series(row.method, row.origin), {})[mix] = (row, other)
    return found


def differences(rows: Sequence[Row], measure: str, whole: str = "ream") -> dict[Series, dict[str, float]]:
    """Variant to mix to its measure less the whole method's, in points; see `pairs`."""
    return {series: {mix: getattr(one, measure) - getattr(other, measure) for mix, (one, other) in of.items()}
            for series, of in pairs(rows, measure, whole).items()}  # fmt: skip


def mean_intervals(rows: Sequence[Row], measure: str, whole: str = "ream") -> dict[Series, Interval]:
    """Variant to the 95% interval of its mean difference over the mixes, where standard errors are known."""
    found: dict[Series, Interval] = {}
    for series, of in pairs(rows, measure, whole).items():
        between = intervals_between([one for one, _ in of.values()], [other for _, other in of.values()])
        interval: Interval | None = getattr(between, measure)
        if interval is not None:
            found[series] = interval
    return found


def ablation_differences(rows: Sequence[Row], whole: str = "ream") -> "Figure":
    """Figure 4a: a panel a measure, a line a variant: a marker a mix, and a bar for their mean.

    Where standard errors are known, the bar has a 95% interval: one that holds 0 may be noise.

    Args:
        rows: of one model: the whole method and its variants.

    Raises:
        ValueError: rows of several models, or no variant shares a mix with the whole method.
    """
    found = {measure: differences(rows, measure, whole) for measure in MEASURES}
    found = {measure: values for measure, values in found.items() if values}
    if not found:
        raise ValueError(f"no variant of {whole} was run with a mix of {whole}")
    variants = list(dict.fromkeys(series for values in found.values() for series in values))
    mixes = list(dict.fromkeys(mix for values in found.values() for of in values.values() for mix in of))
    several = len({series.origin for series in variants}) > 1
    look = dict(zip(mixes, distinct(len(mixes)), strict=True))
    names = [label(series.method.removeprefix(f"{whole}-"), series.origin, several) for series in variants]
    figure, axes = panels(len(found), 0.6 + 0.42 * len(variants))
    known = {measure: mean_intervals(rows, measure, whole) for measure in found}
    for axis, (measure, values) in zip(axes, found.items(), strict=True):
        intervals = known[measure]
        for place, series in enumerate(variants):
            own = values.get(series, {})
            if own:
                axis.barh(place, sum(own.values()) / len(own), height=0.6, color="#bbbbbb", zorder=1)
            if series in intervals:
                low, high = intervals[series].low, intervals[series].high
                axis.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|", markersize=7)
            for mix, difference in own.items():
                axis.plot([difference], [place], linestyle="", marker=look[mix].marker, color=look[mix].colour,
                          markersize=7, markerfacecolor=face(look[mix], series.origin), label=mix)  # fmt: skip
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(variants)), names)
        axis.set_ylim(len(variants) - 0.5, -0.5)
        axis.set_xlabel(f"difference in {MEASURES[measure]} from {whole} (points)")
    entries = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    title = "mix; black: 95% interval of the mean" if any(known.values()) else "mix"
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2, frameon=False, title=title)
    return figure
