"""MC and GEN of each mix, averaged over the methods that were run with every mix (Table 3)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ream.analysis.numbers.intervals import Intervals
from ream.analysis.numbers.row_intervals import intervals_of
from ream.analysis.results.rows import Row, in_mixes


@dataclass(frozen=True)
class MixMean:
    """The mean of one mix over the methods, in percent; a mean is None where a method's value is not known."""

    mc: float | None
    gen: float | None
    intervals: Intervals


@dataclass(frozen=True)
class MixMeans:
    """The means at one size and of one origin.

    Attributes:
        methods: the methods that were run with every mix of two or more sources.
        by_mix: `Row.mix_key` to the mean; a mix that was not run with all these methods (a single source) is missing.
    """

    methods: tuple[str, ...]
    by_mix: Mapping[tuple[tuple[str, float], ...], MixMean]


def mix_means(rows: Sequence[Row]) -> MixMeans:
    """The mean of each mix over the methods that were run with every mix, so that the mixes compare.

    Args:
        rows: compressed models of one size and origin.
    """
    mixes = {row.mix_key for row in rows if in_mixes(row)}
    mixes_by_method = {
        method: {row.mix_key for row in rows if row.method == method} for method in sorted({row.method for row in rows})
    }
    methods = [method for method, run in mixes_by_method.items() if mixes <= run]
    rows_by_cell = {(row.mix_key, row.method): row for row in rows if row.method in methods}
    by_mix = {}
    for key in dict.fromkeys(row.mix_key for row in rows):
        members = [rows_by_cell[key, method] for method in methods if (key, method) in rows_by_cell]
        if members and len(members) == len(methods):
            mc, gen = _mean(row.mc for row in members), _mean(row.gen for row in members)
            by_mix[key] = MixMean(mc, gen, intervals_of(members))
    return MixMeans(tuple(methods), by_mix)


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean; None where a value is not known."""
    known = list(values)
    numbers = [value for value in known if value is not None]
    return math.fsum(numbers) / len(numbers) if numbers and len(numbers) == len(known) else None
