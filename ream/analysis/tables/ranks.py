"""Ranks of hidden states as a table: the numbers of figure 5."""

from collections.abc import Sequence

from ream.analysis.numbers.ranks import RankPoint
from ream.analysis.tables.table import Column, Table


def table_of_ranks(points: Sequence[RankPoint], name: str = "numerical rank") -> Table:
    """The mean rank and the scores, a row per model.

    Args:
        points: the models.
        name: the kind of rank.
    """
    lines = [(point.row.method, point.row.mix or None, point.row.experts, point.row.origin, point.rank, point.row.mc,
              point.row.gen, point.row.avg) for point in points]  # fmt: skip
    columns = (
        Column("method"), Column("mix"), Column("experts"), Column("results"), Column(name, 1), Column("MC", 1),
        Column("GEN", 1), Column("AVG", 1),
    )  # fmt: skip
    return Table("table-ranks", f"Mean {name} of the hidden states before the head, and scores", columns, tuple(lines))
