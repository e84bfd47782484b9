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


class Series(NamedTuple):
    """A method, and the origin of its results."""

    method: str
    origin: str


@dataclass(frozen=True)
class MixPoints:
    """The mixes of a series.

    Attributes:
        rows: a row per mix.
        points: (MC, GEN) of each mix, in percent.
        shares: source to its share of each mix, 0 to 1.
    """

    rows: tuple[Row, ...]
    points: Float64[np.ndarray, "n 2"]
    shares: Mapping[str, Float64[np.ndarray, " n"]]


def series_of(rows: Sequence[Row], experts: int) -> dict[Series, MixPoints]:
    """The mixes of every method at one size, in the order of methods.

    Rows of a single source and rows without MC or GEN are left out.

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
    rows_by_series: dict[Series, list[Row]] = {}
    for row in sorted(chosen, key=lambda row: (method_place(row.method), origins.index(row.origin))):
        rows_by_series.setdefault(Series(row.method, row.origin), []).append(row)
    return {
        series: MixPoints(
            tuple(of_series),
            np.array([(row.mc, row.gen) for row in of_series], dtype=float),
            {source: np.array([row.shares.get(source, 0.0) for row in of_series]) for source in sources},
        )
        for series, of_series in rows_by_series.items()
    }


def fronts_of(series: Mapping[Series, MixPoints]) -> dict[Series, Front]:
    """Pareto front and hypervolume of each series, with one reference point for all of them."""
    names = {f"{place}": one for place, one in enumerate(series)}
    fronts_by_name = fronts({name: series[one].points for name, one in names.items()}) if series else {}
    return {one: fronts_by_name[name] for name, one in names.items()}


def correlations_of(points: MixPoints) -> dict[tuple[str, str], Correlation]:
    """Correlations over the mixes, keyed by (source, "MC"), (source, "GEN") and ("MC", "GEN").

    Shares sum to 1 and the mixes were chosen, not drawn: an interval says how much so few points can tell, no more.
    """
    columns = {**points.shares, "MC": points.points[:, 0], "GEN": points.points[:, 1]}
    return {pair: value for pair, value in correlations(columns).items() if pair[1] in ("MC", "GEN")}
