"""Table 3: the calibration mixes and their mean scores."""

from collections.abc import Sequence

from ream.analysis.numbers.intervals import Intervals
from ream.analysis.numbers.mix_means import MixMeans, mix_means
from ream.analysis.results.methods import beyond_paper
from ream.analysis.results.rows import ORIGINAL, Row, mix_name
from ream.analysis.tables.score_table import about_intervals, ends
from ream.analysis.tables.table import Column, Table, Value

MEASURES = ("MC", "GEN")


def table_3(rows: Sequence[Row]) -> Table:
    """Table 3: names of the mixes, shares of the sources, and the mean MC and GEN of the methods at each size.

    The means are those of `mix_means`; a mix that was not run with all methods (a single source) has none.
    """
    compressed = [row for row in rows if row.method != ORIGINAL and row.ratios]
    mixes = {row.mix_key: row for row in compressed}
    sources = list(dict.fromkeys(source for row in compressed for source in row.ratios))
    means: dict[tuple[str, int], MixMeans] = {
        group: mix_means([row for row in compressed if (row.origin, row.experts) == group])
        for group in dict.fromkeys(
            (row.origin, row.experts) for row in sorted(compressed, key=lambda row: -row.experts)
        )
    }
    columns = [Column("mix"), Column("name"), *(Column(f"{source} %", 0) for source in sources)]
    columns += [Column(f"{measure} {experts} ({origin})", 1) for origin, experts in means for measure in MEASURES]
    lines: list[tuple[Value, ...]] = []
    intervals: dict[tuple[int, int], tuple[float, float]] = {}
    shown: list[Intervals] = []
    for key, row in mixes.items():
        line: list[Value] = [
            row.mix_ratios,
            row.called or mix_name(row),
            *(100 * row.shares.get(source, 0) for source in sources),
        ]
        for of_group in means.values():
            mean = of_group.by_mix.get(key)
            if mean is not None:
                shown.append(mean.intervals)
                for title, interval in ends(mean.intervals).items():
                    if title in MEASURES:
                        intervals[len(lines), len(line) + MEASURES.index(title)] = interval
            line += [None, None] if mean is None else [mean.mc, mean.gen]
        lines.append(tuple(line))
    caption = "Calibration mixes; MC and GEN are means over the methods that were run with every mix"
    caption += beyond_paper(method for of_group in means.values() for method in of_group.methods)
    return Table("table-3", caption + about_intervals(shown), tuple(columns), tuple(lines), intervals=intervals)
