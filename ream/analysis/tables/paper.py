"""All tables of the paper from rows of results: ours, published, or both side by side."""

from collections.abc import Sequence

from ream.analysis.numbers.mixes import series_of
from ream.analysis.results.methods import WHOLE, is_variant, without_ablations
from ream.analysis.results.rows import ORIGINAL, PAPER, Row, sizes
from ream.analysis.tables.ablations import table_4
from ream.analysis.tables.fronts_and_correlations import table_of_correlations, table_of_fronts
from ream.analysis.tables.mixes import table_3
from ream.analysis.tables.scores import table_1, table_2, table_of_mixes
from ream.analysis.tables.table import Table


def tables_of_mixes(rows: Sequence[Row]) -> list[Table]:
    """Tables 1, 3, 5 and 6 of one model, and the numbers of figures 3 and 7 as tables.

    Args:
        rows: rows of one model; its ablations are left to `tables_of_ablations`.

    Returns:
        table-1, table-3, and for each size, from large to small: table-5, table-6, then table-mixes-K; table-fronts-K
        and table-correlations-K where a mix has both means.
    """
    rows = without_ablations(rows)
    tables = [table_1(rows), table_3(rows)]
    names = dict(enumerate(("table-5", "table-6")))
    for place, experts in enumerate(sizes(rows)):
        tables.append(table_of_mixes(rows, experts, names.get(place, f"table-mixes-{experts}")))
        if series_of(rows, experts):
            tables.append(table_of_fronts(rows, experts, f"table-fronts-{experts}"))
            tables.append(table_of_correlations(rows, experts, f"table-correlations-{experts}"))
    return tables


def tables_of_models(rows: Sequence[Row]) -> list[Table]:
    """Table 2, of several models."""
    return [table_2(without_ablations(rows))]


def tables_of_ablations(rows: Sequence[Row]) -> list[Table]:
    """Table 4: the variants of REAM, and REAM and REAP with the same mixes; no table without a variant.

    The paper's rows of REAM and REAP are all shown, whatever their mix, as the paper prints them.
    """
    variants = {(row.origin, row.experts, row.mix_key) for row in rows if is_variant(row.method)}
    if not variants:
        return []
    shown = [
        row
        for row in rows
        if row.method == ORIGINAL
        or is_variant(row.method)
        or (row.method in ("reap", WHOLE)
            and (row.origin == PAPER or (row.origin, row.experts, row.mix_key) in variants))
    ]  # fmt: skip
    return [table_4(shown)]
