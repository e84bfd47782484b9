"""Tables 1, 2, 5 and 6: the scores of models, of their best mixes and of all mixes."""

from collections.abc import Sequence

from ream.analysis.results.order import best_by_gen, places
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.score_table import score_table
from ream.analysis.tables.table import Table


def table_1(rows: Sequence[Row]) -> Table:
    """Table 1: the mix of highest GEN of each method, at every size; the original first."""
    best = best_by_gen(rows)
    return score_table("table-1", "The mix of highest GEN of each method", best, lambda row: (row.model, row.experts))


def table_2(rows: Sequence[Row]) -> Table:
    """Table 2: the same for several models, a block per model, with every method at its largest compressed size."""
    largest = {
        row.model: max((other.experts for other in rows if other.model == row.model and other.method != ORIGINAL),
                       default=0)
        for row in rows
    }  # fmt: skip
    chosen = [row for row in rows if row.method == ORIGINAL or row.experts == largest[row.model]]
    caption = "Large models, the mix of highest GEN of each method"
    return score_table("table-2", caption, best_by_gen(chosen), lambda row: row.model)


def table_of_mixes(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Tables 5 and 6: every mix and method at one number of experts, a block per mix; the original first."""
    chosen = [row for row in rows if row.method == ORIGINAL or row.experts == experts]
    place = places(chosen)
    chosen = sorted(chosen, key=lambda row: (row.method != ORIGINAL, place(row).mix, place(row).method, place(row)))
    totals = {row.experts for row in chosen if row.method == ORIGINAL}
    share = f", {100 * experts / totals.pop():.0f}% of the original's" if len(totals) == 1 else ""
    return score_table(name, f"All mixes at {experts} experts{share}", chosen, lambda row: row.mix_key)
