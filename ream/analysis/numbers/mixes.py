"""What the calibration mix does: MC and GEN of each method over the mixes, their fronts and correlations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ream.analysis.numbers.correlation import Correlation, correlations
from ream.analysis.numbers.pareto import Front, fronts
from ream.analysis.results.methods import method_place
from ream.analysis.results.rows import ORIGINAL, Row, in_mixes
from ream.analysis.tables.table import Column, Table, Value


class Series(NamedTuple):
    """A method, and whose results they are."""

    method: str
    origin: str


@dataclass(frozen=True)
class MixPoints:
    """A series' mixes: a point (MC, GEN) in percent for each, and each source's share of the mix, 0 to 1."""

    rows: tuple[Row, ...]
    points: Float64[np.ndarray, "n 2"]
    shares: Mapping[str, Float64[np.ndarray, " n"]]


def series_of(rows: Sequence[Row], experts: int) -> dict[Series, MixPoints]:
    """The mixes of every method at one size, in the order of methods; single sources and rows without both means go.

    Raises:
        ValueError: the rows are of several models.
    """
    models = sorted({row.model for row in rows})
    if len(models) > 1:
        raise ValueError(f"points of several models do not compare: {', '.join(models)}")
    chosen = [row for row in rows if row.experts == experts and row.method != ORIGINAL and in_mixes(row)
              and row.mc is not None and row.gen is not None]  # fmt: skip
    sources = list(dict.fromkeys(source for row in chosen for source in row.ratios))
    origins = list(dict.fromkeys(row.origin for row in chosen))
    found: dict[Series, list[Row]] = {}
    for row in sorted(chosen, key=lambda row: (method_place(row.method), origins.index(row.origin))):
        found.setdefault(Series(row.method, row.origin), []).append(row)
    return {
        series: MixPoints(
            tuple(of_series),
            np.array([(row.mc, row.gen) for row in of_series], dtype=float),
            {source: np.array([row.shares.get(source, 0.0) for row in of_series]) for source in sources},
        )
        for series, of_series in found.items()
    }


def fronts_of(series: Mapping[Series, MixPoints]) -> dict[Series, Front]:
    """Pareto front and hypervolume of each series; one reference point for all of them."""
    names = {f"{place}": one for place, one in enumerate(series)}
    found = fronts({name: series[one].points for name, one in names.items()}) if series else {}
    return {one: found[name] for name, one in names.items()}


def correlations_of(points: MixPoints) -> dict[tuple[str, str], Correlation]:
    """Of each source's share with MC and with GEN, and of MC with GEN: (source, "MC"), (source, "GEN"), ("MC", "GEN").

    Shares sum to 1 and the mixes were chosen, not drawn: an interval says how much so few points can tell, no more.
    """
    columns = {**points.shares, "MC": points.points[:, 0], "GEN": points.points[:, 1]}
    found = correlations(columns)
    return {pair: value for pair, value in found.items() if pair[1] in ("MC", "GEN")}


def table_of_fronts(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Hypervolume and n of each series, as figure 3b shows them."""
    series = series_of(rows, experts)
    lines = [(one.method, one.origin, front.hypervolume, front.size, len(series[one].rows))
             for one, front in fronts_of(series).items()]  # fmt: skip
    columns = (Column("method"), Column("results"), Column("HV", 1), Column("on the front"), Column("mixes"))
    return Table(name, f"Pareto fronts of the mixes at {experts} experts", columns, tuple(lines))


def table_of_correlations(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Pearson's r and its 95% interval of each series, as figure 3a shows them."""
    lines: list[tuple[Value, ...]] = []
    for one, points in series_of(rows, experts).items():
        for (a, b), found in correlations_of(points).items():
            lines.append((one.method, one.origin, a, b, found.r, found.low, found.high, found.points, found.undefined))
    columns = (
        Column("method"), Column("results"), Column("of"), Column("with"), Column("r", 2, signed=True),
        Column("low", 2, signed=True), Column("high", 2, signed=True), Column("mixes"), Column("not defined"),
    )  # fmt: skip
    caption = f"Correlations of each source's share, MC and GEN over the mixes at {experts} experts, 95% intervals"
    return Table(name, caption, columns, tuple(lines))
