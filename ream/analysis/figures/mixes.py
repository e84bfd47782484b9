"""What figures 2, 3a and 3b (6, 7a and 7b at the second size) have in common."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ream.analysis.numbers.mixes import MixPoints, Series, series_of
from ream.analysis.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def drawable(rows: Sequence[Row], experts: int) -> dict[Series, MixPoints]:
    """The series at one size.

    Raises:
        ValueError: the rows are of several models, or none has both means at this size.
    """
    series = series_of(rows, experts)
    if not series:
        raise ValueError(f"no mix has both MC and GEN at {experts} experts")
    return series


def several_origins(series: dict[Series, MixPoints]) -> bool:
    """Whether the series have more than one origin, so that legends must name it."""
    return len({one.origin for one in series}) > 1


def name_axes(axis: "Axes", experts: int) -> None:
    """Label the axes of a panel that shows GEN against MC."""
    axis.set_xlabel(f"MC (%), {experts} experts")
    axis.set_ylabel("GEN (%)")
