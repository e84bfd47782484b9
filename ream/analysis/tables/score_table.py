"""The table of scores that tables 1, 2, 4, 5 and 6 are: a row a model, its tasks, MC, GEN and AVG."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ream.analysis.numbers.intervals import Intervals
from ream.analysis.numbers.row_intervals import intervals_of
from ream.analysis.results.methods import beyond_paper, method_place
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.table import Column, Table, Value

MEANS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("MC", lambda row: row.mc), ("GEN", lambda row: row.gen), ("AVG", lambda row: row.avg),
)  # fmt: skip


def score_table(name: str, caption: str, rows: Sequence[Row], block: Callable[[Row], object]) -> Table:
    """A row a model: what it is, its tasks and means; what is the same for all rows goes into the caption.

    The best score of each block, size and origin is bold, the original's aside. Means have 95% intervals where standard
    errors are known.
    """
    stated: list[tuple[str, Callable[[Row], Value]]] = [
        ("model", lambda row: row.model), ("experts", lambda row: row.experts), ("method", lambda row: row.method),
        ("mix", lambda row: row.mix or None), ("results", lambda row: row.origin),
    ]  # fmt: skip
    constant = [title for title, of in stated if title in ("model", "results") and len({of(row) for row in rows}) == 1]
    for title, of in stated:
        if title in constant:
            caption += f"; {title}: {of(rows[0])}"
    kept = [(title, of) for title, of in stated if title not in constant]
    mc = list(dict.fromkeys(task for row in rows for task in row.mc_tasks))
    gen = list(dict.fromkeys(task for row in rows for task in row.gen_tasks))
    measures = [(title, of) for title, of in MEANS if any(of(row) is not None for row in rows)]
    columns = [Column(title) for title, _ in kept]
    columns += [Column(title, 1) for title in (*mc, *gen, *(title for title, _ in measures))]
    lines: list[tuple[Value, ...]] = []
    for row in rows:
        line = [of(row) for _, of in kept]
        line += [row.mc_tasks[task].value if task in row.mc_tasks else None for task in mc]
        line += [row.gen_tasks[task].value if task in row.gen_tasks else None for task in gen]
        line += [of(row) for _, of in measures]
        lines.append(tuple(line))
    rules = tuple(place for place in range(1, len(rows)) if block(rows[place]) != block(rows[place - 1]))
    blocks = [(block(row), row.experts, row.origin) if row.method != ORIGINAL else None for row in rows]
    scores = range(len(kept), len(columns))
    found = {number: intervals_of([row]) for number, row in enumerate(rows)}
    places = {title: len(columns) - len(measures) + place for place, (title, _) in enumerate(measures)}
    intervals = {
        (number, places[title]): interval
        for number, of_row in found.items()
        for title, interval in ends(of_row).items()
        if lines[number][places[title]] is not None
    }
    caption += beyond_paper(row.method for row in rows) + about_intervals(found.values())
    return Table(name, caption, tuple(columns), tuple(lines), _best(lines, blocks, scores), rules, intervals)


def ends(intervals: Intervals) -> dict[str, tuple[float, float]]:
    """Low and high end of MC, GEN and AVG, those that there are."""
    found = {"MC": intervals.mc, "GEN": intervals.gen, "AVG": intervals.avg}
    return {title: (of.low, of.high) for title, of in found.items() if of is not None}


def about_intervals(found: Iterable[Intervals]) -> str:
    """What a caption says about intervals; empty where there are none."""
    shown = [of for of in found if ends(of)]
    if not shown:
        return ""
    exact = list(dict.fromkeys(task for of in shown for task in of.exact))
    return "; ±: 95% interval" + (f", {', '.join(exact)} without {'its' if len(exact) == 1 else 'their'} error"
                                  if exact else "")  # fmt: skip


def _best(
    lines: Sequence[tuple[Value, ...]], blocks: Sequence[object], columns: Iterable[int]
) -> frozenset[tuple[int, int]]:
    """Where the largest value of each block stands in each column; all that print alike; none where all do."""
    bold = set()
    for column in columns:
        for block in {block for block in blocks if block is not None}:
            members = [row for row, of in enumerate(blocks) if of == block]
            values = {row: round(value, 1) for row in members if isinstance(value := lines[row][column], int | float)}
            if len(set(values.values())) > 1:
                bold |= {(row, column) for row, value in values.items() if value == max(values.values())}
    return frozenset(bold)


def one_original(rows: Sequence[Row]) -> list[Row]:
    """The rows, one original a model and origin: published tables repeat it."""
    originals: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        if row.method != ORIGINAL or (row.model, row.origin) not in originals:
            kept.append(row)
        if row.method == ORIGINAL:
            originals.add((row.model, row.origin))
    return kept


class Place(NamedTuple):
    """Where a row stands among others: by model, size from large to small, method, mix and origin as they come."""

    model: int
    size: int
    method: tuple[int, str]
    mix: int
    origin: int


def places(rows: Sequence[Row]) -> Callable[[Row], Place]:
    """The order of rows: gives the place of each of them."""
    models, mixes, origins = (
        {value: place for place, value in enumerate(dict.fromkeys(values))}
        for values in ([row.model for row in rows], [row.mix_key for row in rows], [row.origin for row in rows])
    )

    def place(row: Row) -> Place:
        return Place(models[row.model], -row.experts, method_place(row.method), mixes[row.mix_key], origins[row.origin])

    return place


def best_by_gen(rows: Sequence[Row]) -> list[Row]:
    """Originals, and for each model, size, method and origin the row of highest GEN; the earlier one of equals."""
    best: dict[tuple[str, int, str, str], Row] = {}
    for row in one_original(rows):
        key = (row.model, row.experts, row.method, row.origin)
        if row.gen is not None and (key not in best or row.gen > (best[key].gen or 0.0)):
            best[key] = row
    return sorted(best.values(), key=places(rows))
