"""The rank of hidden states before the head against scores: points and regression lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ream.analysis.numbers.correlation import Line, regression
from ream.analysis.results.rows import ORIGINAL, Row

MEASURES = ("mc", "gen", "avg")


@dataclass(frozen=True)
class RankPoint:
    """A model's scores and the mean rank of its hidden states (`ream.evaluation.rank.Ranks`)."""

    row: Row
    rank: float


def rank_lines(points: Sequence[RankPoint]) -> dict[str, Line | None]:
    """The least-squares line of each measure over the rank, without originals; None where there is no line."""
    lines = {}
    for measure in MEASURES:
        known = [(point.rank, getattr(point.row, measure)) for point in points
                 if point.row.method != ORIGINAL and getattr(point.row, measure) is not None]  # fmt: skip
        columns = np.array(known, dtype=float).reshape(len(known), 2)
        lines[measure] = regression(columns[:, 0], columns[:, 1])
    return lines
