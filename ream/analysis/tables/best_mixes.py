"""The paper's tables 1 to 6, made from rows of results: ours, published, or both."""

import math
from collections.abc import Iterable, Sequence

from ream.analysis.numbers.intervals import Intervals
from ream.analysis.numbers.row_intervals import intervals_between, intervals_of
from ream.analysis.results.methods import beyond_paper
from ream.analysis.results.rows import ORIGINAL, Row, in_mixes, mix_name
from ream.analysis.tables.score_table import about_intervals, best_by_gen, ends, one_original, places, score_table
from ream.analysis.tables.table import Column, Table, Value


def table_1(rows: Sequence[Row]) -> Table:
    """The best mix of each method by GEN, at every size; the original first."""
    best = best_by_gen(rows)
    return score_table("table-1", "The mix of highest GEN of each method", best, _size)


def table_2(rows: Sequence[Row]) -> Table:
    """The same for several models, a block a model: for each, every method at its largest compressed size."""
    largest = {
        row.model: max((other.experts for other in rows if other.model == row.model and other.method != ORIGINAL),
                       default=0)
        for row in rows
    }  # fmt: skip
    chosen = [row for row in rows if row.method == ORIGINAL or row.experts == largest[row.model]]
    return score_table("table-2", "Large models, the mix of highest GEN of each method", best_by_gen(chosen),
                   lambda row: row.model)  # fmt: skip


def table_3(rows: Sequence[Row]) -> Table:
    """The mixes: names, shares of the sources, and the mean MC and GEN of the methods at each size.

    The mean is over the methods that were run with every mix of two or more sources, so that rows compare; a mix that
    was not run with all of them (a single source) has none.
    """
    compressed = [row for row in rows if row.method != ORIGINAL and row.ratios]
    mixes = {row.mix_key: row for row in compressed}
    sources = list(dict.fromkeys(source for row in compressed for source in row.ratios))
    groups = list(dict.fromkeys((row.origin, row.experts) for row in sorted(compressed, key=lambda row: -row.experts)))
    of_group = {}
    for group in groups:
        own = [row for row in compressed if (row.origin, row.experts) == group]
        wanted = {row.mix_key for row in own if in_mixes(row)}
        methods = {
            method: {row.mix_key for row in own if row.method == method}
            for method in sorted({row.method for row in own})
        }
        whole = [method for method, ran in methods.items() if wanted <= ran]
        of_group[group] = ({(row.mix_key, row.method): row for row in own if row.method in whole}, whole)
    columns = [Column("mix"), Column("name"), *(Column(f"{source} %", 0) for source in sources)]
    for origin, experts in groups:
        columns += [Column(f"{measure} {experts} ({origin})", 1) for measure in ("MC", "GEN")]
    lines: list[tuple[Value, ...]] = []
    intervals: dict[tuple[int, int], tuple[float, float]] = {}
    shown: list[Intervals] = []
    for key, row in mixes.items():
        line: list[Value] = [row.mix, mix_name(row), *(100 * row.shares.get(source, 0) for source in sources)]
        for group in groups:
            found, whole = of_group[group]
            members = [found[key, method] for method in whole if (key, method) in found]
            complete = bool(members) and len(members) == len(whole)
            if complete:
                shown.append(intervals_of(members))
                of_group_ends = ends(shown[-1])
                for place, measure in enumerate(("MC", "GEN")):
                    if measure in of_group_ends:
                        intervals[len(lines), len(line) + place] = of_group_ends[measure]
            line += [_mean(row.mc for row in members) if complete else None,
                     _mean(row.gen for row in members) if complete else None]  # fmt: skip
        lines.append(tuple(line))
    caption = "Calibration mixes; MC and GEN are means over the methods that were run with every mix"
    averaged = (method for _, whole in of_group.values() for method in whole)
    caption += beyond_paper(averaged) + about_intervals(shown)
    return Table("table-3", caption, tuple(columns), tuple(lines), intervals=intervals)


def table_4(rows: Sequence[Row], whole: str = "ream") -> Table:
    """Ablations: variants of a method, with the difference in GEN from the whole method with the same mix.

    Args:
        rows: of the originals, the whole method, its variants and what else is to stand beside them.
        whole: the method that the variants leave something out of.
    """
    reference = {_cell(row): row for row in rows if row.method == whole}
    place = places(rows)
    ordered = sorted(one_original(rows), key=lambda row: (place(row)[:2], place(row).mix, place(row).method))
    caption = f"Ablations of {whole}; ΔGEN is the difference from {whole} with the same mix"
    table = score_table("table-4", caption, ordered, lambda row: (row.model, row.experts, row.mix_key))
    differences: list[Value] = []
    intervals = dict(table.intervals)
    for number, row in enumerate(ordered):
        other = reference.get(_cell(row))
        if other is None or row.method in (ORIGINAL, whole) or row.gen is None or other.gen is None:
            differences.append(None)
            continue
        differences.append(round(row.gen - other.gen, 9))
        between = intervals_between([row], [other]).gen
        if between is not None:
            intervals[number, len(table.columns)] = (between.low, between.high)
    extended = tuple((*line, difference) for line, difference in zip(table.rows, differences, strict=True))
    return Table(table.name, table.caption, (*table.columns, Column("ΔGEN", 1, signed=True)), extended,
                 table.bold, table.rules, intervals)  # fmt: skip


def table_of_mixes(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Tables 5 and 6: every mix and method at one number of experts, a block a mix; the original first."""
    chosen = [row for row in rows if row.method == ORIGINAL or row.experts == experts]
    place = places(chosen)
    chosen = sorted(chosen, key=lambda row: (row.method != ORIGINAL, place(row).mix, place(row).method, place(row)))
    totals = {row.experts for row in chosen if row.method == ORIGINAL}
    share = f", {100 * experts / totals.pop():.0f}% of the original's" if len(totals) == 1 else ""
    return score_table(name, f"All mixes at {experts} experts{share}", chosen, lambda row: row.mix_key)


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    numbers = [value for value in known if value is not None]
    return math.fsum(numbers) / len(numbers) if numbers and len(numbers) == len(known) else None


def _size(row: Row) -> object:
    return row.model, row.experts


def _cell(row: Row) -> object:
    return row.origin, row.model, row.experts, row.mix_key
