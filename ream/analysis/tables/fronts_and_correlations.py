"""Pareto fronts and correlations of the mixes as tables: the numbers of figures 3a and 3b."""

from collections.abc import Sequence

from ream.analysis.numbers.mixes import correlations_of, fronts_of, series_of
from ream.analysis.results.rows import Row
from ream.analysis.tables.table import Column, Table, Value


def table_of_fronts(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Hypervolume and number of mixes on the front of each series, as figure 3b shows them."""
    series = series_of(rows, experts)
    lines = [(one.method, one.origin, front.hypervolume, front.size, len(series[one].rows))
             for one, front in fronts_of(series).items()]  # fmt: skip
    columns = (Column("method"), Column("results"), Column("HV", 1), Column("on the front"), Column("mixes"))
    return Table(name, f"Pareto fronts of the mixes at {experts} experts", columns, tuple(lines))


def table_of_correlations(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Pearson's r and its 95% interval for each series, as figure 3a shows them."""
    lines: list[tuple[Value, ...]] = []
    for one, points in series_of(rows, experts).items():
        for (a, b), value in correlations_of(points).items():
            lines.append((one.method, one.origin, a, b, value.r, value.low, value.high, value.points, value.undefined))
    columns = (
        Column("method"), Column("results"), Column("of"), Column("with"), Column("r", 2, signed=True),
        Column("low", 2, signed=True), Column("high", 2, signed=True), Column("mixes"), Column("not defined"),
    )  # fmt: skip
    caption = f"Correlations of each source's share, MC and GEN over the mixes at {experts} experts, 95% intervals"
    return Table(name, caption, columns, tuple(lines))
