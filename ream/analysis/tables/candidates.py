"""The few models worth considering, against the original."""

from collections.abc import Sequence

from ream.analysis.numbers.choice import KL, Candidate, Choice
from ream.analysis.numbers.intervals import Interval
from ream.analysis.tables.table import Column, Table, Value
from ream.evaluation.scores import Cell

NAME = "candidates"
CAPTION = (
    "The chosen model of each size (bold), and others that cannot be told apart from it; ΔMC and ΔGEN: minus the "
    "original, in points; smaller: parameters saved; ±: 95% interval"
)
COLUMNS = (
    Column("experts"), Column("method"), Column("mix"), Column("smaller %", 0), Column("loss", 3), Column("KL", 2),
    Column("ΔMC", 1, signed=True), Column("ΔGEN", 1, signed=True),
)  # fmt: skip


def table_of_candidates(shown: Sequence[tuple[Choice, Candidate]], original: Cell) -> Table:
    """A row for each candidate, the original's values in the caption; measures that no candidate has are left out.

    Args:
        shown: the candidates, each with the choice that it belongs to.
        original: the original's scores.
    """
    lines: list[tuple[Value, ...]] = []
    intervals: dict[tuple[int, int], tuple[float, float]] = {}
    for number, (_, one) in enumerate(shown):
        spans: dict[int, Interval | None] = {5: KL.interval(one)}
        if one.paired is not None:
            spans |= {6: one.paired.mc, 7: one.paired.gen}
        intervals |= {(number, place): (span.low, span.high) for place, span in spans.items() if span is not None}
        smaller = 100 * (1 - one.cell.parameters / original.parameters)
        lines.append((one.row.experts, one.row.method, one.row.mix or None, smaller, one.cell.mean_loss, KL.value(one),
                      one.below("mc", original), one.below("gen", original)))  # fmt: skip
    kept = [place for place in range(len(COLUMNS)) if any(line[place] is not None for line in lines)]
    sizes = [line[0] for line in lines]
    known = {"loss": (original.mean_loss, 3), "MC": (original.mc, 1), "GEN": (original.gen, 1)}
    values = [f"{name} {value:.{digits}f}" for name, (value, digits) in known.items() if value is not None]
    return Table(
        NAME,
        CAPTION + (f". The original has {', '.join(values)}" if values else ""),
        tuple(COLUMNS[place] for place in kept),
        tuple(tuple(line[place] for place in kept) for line in lines),
        frozenset((number, 1) for number, (choice, one) in enumerate(shown) if one is choice.chosen),
        tuple(place for place in range(1, len(sizes)) if sizes[place] != sizes[place - 1]),
        {(number, kept.index(place)): ends for (number, place), ends in intervals.items() if place in kept},
    )
