"""The table of scores that tables 1, 2, 4, 5 and 6 are: a row a model, its tasks, MC, GEN and AVG."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ream.analysis.intervals import score_intervals
from ream.analysis.rows import ORIGINAL, Row
from ream.analysis.table import Column, Table, Value

METHODS = (ORIGINAL, "frequency", "ean", "reap", "m-smoe", "hc-smoe", "ream", "ream-released")
SEED = 0
MEANS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("MC", lambda row: row.mc), ("GEN", lambda row: row.gen), ("AVG", lambda row: row.avg),
)  # fmt: skip


def score_table(name: str, caption: str, rows: Sequence[Row], block: Callable[[Row], object]) -> Table:
    """A row a model: what it is, its tasks and means; what is the same for all rows goes into the caption.

    The best score of each block, size and origin is bold, the original's aside.
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
    intervals = any(score.stderr is not None for row in rows for score in row.gen_tasks.values())
    columns = [Column(title) for title, _ in kept]
    columns += [Column(title, 1) for title in (*mc, *gen, *(title for title, _ in measures))]
    columns += [Column("GEN 95%")] if intervals else []
    lines: list[tuple[Value, ...]] = []
    for row in rows:
        line = [of(row) for _, of in kept]
        line += [row.mc_tasks[task].value if task in row.mc_tasks else None for task in mc]
        line += [row.gen_tasks[task].value if task in row.gen_tasks else None for task in gen]
        line += [of(row) for _, of in measures]
        line += [_interval(row)] if intervals else []
        lines.append(tuple(line))
    rules = tuple(place for place in range(1, len(rows)) if block(rows[place]) != block(rows[place - 1]))
    blocks = [(block(row), row.experts, row.origin) if row.method != ORIGINAL else None for row in rows]
    scores = range(len(kept), len(kept) + len(mc) + len(gen) + len(measures))
    return Table(name, caption, tuple(columns), tuple(lines), _best(lines, blocks, scores), rules)


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


def _interval(row: Row) -> str | None:
    if not any(score.stderr is not None for score in row.gen_tasks.values()):
        return None
    gen = score_intervals({}, row.gen_tasks, SEED).gen
    return None if gen is None else f"{gen.low:.1f} to {gen.high:.1f}"


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


def method_place(method: str) -> tuple[int, str]:
    """Order of methods: the paper's, then others by name."""
    return (METHODS.index(method), "") if method in METHODS else (len(METHODS), method)


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
