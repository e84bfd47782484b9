"""Table 4: ablations, with their differences from the whole method."""

from collections.abc import Sequence

from ream.analysis.numbers.row_intervals import intervals_between
from ream.analysis.results.methods import WHOLE
from ream.analysis.results.order import one_original, places
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.score_table import score_table
from ream.analysis.tables.table import Column, Table, Value


def table_4(rows: Sequence[Row], whole: str = WHOLE) -> Table:
    """Table 4: variants of a method, with the difference in GEN from the whole method with the same mix.

    Args:
        rows: the originals, the whole method, its variants and other methods to show beside them.
        whole: the method that the variants leave a part out of.
    """
    whole_rows = {_cell(row): row for row in rows if row.method == whole}
    place = places(rows)
    ordered = sorted(one_original(rows), key=lambda row: (place(row)[:2], place(row).mix, place(row).method))
    caption = f"Ablations of {whole}; ΔGEN is the difference from {whole} with the same mix"
    table = score_table("table-4", caption, ordered, lambda row: (row.model, row.experts, row.mix_key))
    differences: list[Value] = []
    intervals = dict(table.intervals)
    for number, row in enumerate(ordered):
        whole_row = whole_rows.get(_cell(row))
        if whole_row is None or row.method in (ORIGINAL, whole) or row.gen is None or whole_row.gen is None:
            differences.append(None)
            continue
        differences.append(round(row.gen - whole_row.gen, 9))
        between = intervals_between([row], [whole_row]).gen
        if between is not None:
            intervals[number, len(table.columns)] = (between.low, between.high)
    extended = tuple((*line, difference) for line, difference in zip(table.rows, differences, strict=True))
    return Table(table.name, table.caption, (*table.columns, Column("ΔGEN", 1, signed=True)), extended,
                 table.bold, table.rules, intervals)  # fmt: skip


def _cell(row: Row) -> object:
    """Key that a variant's row shares with the whole method's row."""
    return row.origin, row.model, row.experts, row.mix_key
