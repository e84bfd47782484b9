"""Each model against the original on the same questions, as a table."""

from collections.abc import Sequence

from ream.analysis.numbers.paired import Paired
from ream.analysis.results.rows import Row
from ream.analysis.tables.table import Column, Table, Value

MEANS = ("mc", "gen", "avg")
CAPTION = (
    "Each model minus the original on the same questions, in percentage points; ±: 95% interval of a paired bootstrap "
    "over the questions; lost and gained: questions that only the original, or only the model, answered correctly; p: "
    "McNemar's exact test"
)


def table_of_pairs(pairs: Sequence[tuple[Row, Paired]]) -> Table:
    """The differences of MC, GEN and AVG and of every task, a row per model.

    Args:
        pairs: our models with their comparison with the original.
    """
    tasks = list(dict.fromkeys(task for _, found in pairs for task in found.tasks))
    shown = [name for name in MEANS if any(getattr(found, name) is not None for _, found in pairs)]
    columns = (
        Column("method"), Column("mix"), Column("experts"),
        *(Column(name.upper(), 1, signed=True) for name in shown),
        Column("lost"), Column("gained"), Column("p", 4),
        *(Column(task, 1, signed=True) for task in tasks),
    )  # fmt: skip
    lines: list[tuple[Value, ...]] = []
    intervals = {}
    for number, (row, found) in enumerate(pairs):
        differences = [getattr(found, name) for name in shown], [found.tasks.get(task) for task in tasks]
        changed = found.changes
        means, by_task = ([None if each is None else each.value for each in part] for part in differences)
        numbers = (None,) * 3 if changed is None else (changed.lost, changed.gained, changed.p)
        lines.append((row.method, row.mix or None, row.experts, *means, *numbers, *by_task))
        places = [*range(3, 3 + len(shown)), *range(6 + len(shown), len(columns))]
        for place, interval in zip(places, [*differences[0], *differences[1]], strict=True):
            if interval is not None:
                intervals[number, place] = (interval.low, interval.high)
    return Table("table-paired", CAPTION, columns, tuple(lines), intervals=intervals)
