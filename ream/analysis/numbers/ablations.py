"""What each part of a method is worth: differences of its variants from the whole method."""

from collections.abc import Sequence

from ream.analysis.numbers.intervals import Interval
from ream.analysis.numbers.mixes import Series
from ream.analysis.numbers.row_intervals import intervals_between
from ream.analysis.results.methods import WHOLE, is_variant, method_place
from ream.analysis.results.rows import ORIGINAL, Row

MEASURES = {"mc": "MC", "gen": "GEN", "avg": "AVG"}


def pairs(rows: Sequence[Row], measure: str, whole: str = WHOLE) -> dict[Series, dict[str, tuple[Row, Row]]]:
    """For each variant, mix to the variant's row and the whole method's, both of the same mix, size and origin.

    Variants are those of `ream.analysis.results.methods.ABLATIONS`.

    Args:
        rows: rows of one model.
        measure: a key of MEASURES, which both rows have.
        whole: the whole method.

    Raises:
        ValueError: the rows are of several models.
    """
    models = sorted({row.model for row in rows})
    if len(models) > 1:
        raise ValueError(f"ablations of several models do not compare: {', '.join(models)}")
    whole_rows = {(row.origin, row.experts, row.mix_key): row for row in rows
                  if row.method == whole and getattr(row, measure) is not None}  # fmt: skip
    pairs_by_series: dict[Series, dict[str, tuple[Row, Row]]] = {}
    several = len({row.experts for row in rows if row.method != ORIGINAL}) > 1
    for row in sorted(rows, key=lambda row: (method_place(row.method), -row.experts)):
        whole_row = whole_rows.get((row.origin, row.experts, row.mix_key))
        if is_variant(row.method, whole) and getattr(row, measure) is not None and whole_row is not None:
            mix = f"{row.mix} ({row.experts})" if several else row.mix
            pairs_by_series.setdefault(Series(row.method, row.origin), {})[mix] = (row, whole_row)
    return pairs_by_series


def differences(rows: Sequence[Row], measure: str, whole: str = WHOLE) -> dict[Series, dict[str, float]]:
    """For each variant, mix to its measure minus the whole method's, in percentage points; see `pairs`."""
    return {series: {mix: getattr(one, measure) - getattr(other, measure) for mix, (one, other) in by_mix.items()}
            for series, by_mix in pairs(rows, measure, whole).items()}  # fmt: skip


def mean_intervals(rows: Sequence[Row], measure: str, whole: str = WHOLE) -> dict[Series, Interval]:
    """The 95% interval of each variant's mean difference over the mixes, where standard errors are known."""
    intervals: dict[Series, Interval] = {}
    for series, by_mix in pairs(rows, measure, whole).items():
        between = intervals_between([one for one, _ in by_mix.values()], [other for _, other in by_mix.values()])
        interval: Interval | None = getattr(between, measure)
        if interval is not None:
            intervals[series] = interval
    return intervals
