"""The shape of tables 1, 2, 4, 5 and 6: a row per model with its tasks, MC, GEN and AVG."""

from collections.abc import Callable, Iterable, Sequence

from ream.analysis.numbers.intervals import Intervals
from ream.analysis.numbers.row_intervals import intervals_of
from ream.analysis.results.methods import beyond_paper
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.fidelity import ABOUT_KL, KL_DIGITS, kl_intervals
from ream.analysis.tables.table import Column, Table, Value

Field = tuple[str, Callable[[Row], Value]]
DESCRIPTION: tuple[Field, ...] = (
    ("model", lambda row: row.model), ("experts", lambda row: row.experts), ("method", lambda row: row.method),
    ("mix", lambda row: row.mix or None), ("results", lambda row: row.origin),
)  # fmt: skip
MEANS: tuple[Field, ...] = (("MC", lambda row: row.mc), ("GEN", lambda row: row.gen), ("AVG", lambda row: row.avg))

CLOSENESS: tuple[Field, ...] = (("KL", lambda row: None if row.fidelity is None else row.fidelity.kl.value),)


def score_table(name: str, caption: str, rows: Sequence[Row], block: Callable[[Row], object]) -> Table:
    """A row per model: its description, its tasks and its means.

    A model or origin that is the same for all rows goes into the caption. The best score of each block, size and origin
    is bold; originals do not take part. Means have 95% intervals where standard errors are known. The last column is
    the KL divergence from the original, where it was measured.

    Args:
        name: name of the table.
        caption: its first words.
        rows: the models, in order.
        block: key of the block that a row belongs to; blocks are divided by lines.
    """
    constant = [field for field in DESCRIPTION if field[0] in ("model", "results") and _is_constant(field, rows)]
    description = [field for field in DESCRIPTION if field not in constant]
    scores = [*_task_fields(rows), *(field for field in MEANS if any(field[1](row) is not None for row in rows))]
    closeness = [field for field in CLOSENESS if any(field[1](row) is not None for row in rows)]
    lines = [tuple(value(row) for _, value in (*description, *scores, *closeness)) for row in rows]
    columns = (
        *(Column(title) for title, _ in description),
        *(Column(title, 1) for title, _ in scores),
        *(Column(title, KL_DIGITS) for title, _ in closeness),
    )
    row_intervals = [intervals_of([row]) for row in rows]
    means = {column.name: place for place, column in enumerate(columns) if column.name in dict(MEANS)}
    intervals = {
        (number, means[title]): interval
        for number, of_row in enumerate(row_intervals)
        for title, interval in ends(of_row).items()
        if title in means and lines[number][means[title]] is not None
    }
    if closeness:
        intervals |= kl_intervals(rows, len(columns) - 1)
    blocks = [(block(row), row.experts, row.origin) if row.method != ORIGINAL else None for row in rows]
    return Table(
        name,
        caption
        + "".join(f"; {title}: {value(rows[0])}" for title, value in constant)
        + beyond_paper(row.method for row in rows)
        + (f"; {ABOUT_KL}" if closeness else "")
        + (about_intervals(row_intervals) or ("; ±: 95% interval" if intervals else "")),
        columns,
        tuple(lines),
        _best(lines, blocks, range(len(description), len(description) + len(scores))),
        tuple(place for place in range(1, len(rows)) if block(rows[place]) != block(rows[place - 1])),
        intervals,
    )


def _is_constant(field: Field, rows: Sequence[Row]) -> bool:
    """Whether all rows have the same value."""
    return len({field[1](row) for row in rows}) == 1


def _task_fields(rows: Sequence[Row]) -> list[Field]:
    """The tasks of MC, then those of GEN, in the order of the rows."""

    def score(suite: str, task: str) -> Callable[[Row], Value]:
        return lambda row: getattr(row, suite)[task].value if task in getattr(row, suite) else None

    return [
        (task, score(suite, task))
        for suite in ("mc_tasks", "gen_tasks")
        for task in dict.fromkeys(task for row in rows for task in getattr(row, suite))
    ]


def ends(intervals: Intervals) -> dict[str, tuple[float, float]]:
    """Low and high end of the intervals of MC, GEN and AVG, where there are any."""
    by_title = {"MC": intervals.mc, "GEN": intervals.gen, "AVG": intervals.avg}
    return {title: (interval.low, interval.high) for title, interval in by_title.items() if interval is not None}


def about_intervals(intervals: Iterable[Intervals]) -> str:
    """The part of a caption that explains the intervals; empty where there are none."""
    shown = [of_row for of_row in intervals if ends(of_row)]
    if not shown:
        return ""
    exact = list(dict.fromkeys(task for of_row in shown for task in of_row.exact))
    if not exact:
        return "; ±: 95% interval"
    return f"; ±: 95% interval, {', '.join(exact)} without {'its' if len(exact) == 1 else 'their'} error"


def _best(
    lines: Sequence[tuple[Value, ...]], blocks: Sequence[object], columns: Iterable[int]
) -> frozenset[tuple[int, int]]:
    """(row, column) of the largest value of each block, and of all that print alike; none where all values do.

    Args:
        lines: the rows of the table.
        blocks: the block of each row; None for rows that do not take part.
        columns: places of the columns with scores.
    """
    bold = set()
    for column in columns:
        for block in {block for block in blocks if block is not None}:
            members = [row for row, of in enumerate(blocks) if of == block]
            values = {row: round(value, 1) for row in members if isinstance(value := lines[row][column], int | float)}
            if len(set(values.values())) > 1:
                bold |= {(row, column) for row, value in values.items() if value == max(values.values())}
    return frozenset(bold)
