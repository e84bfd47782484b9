"""Which cells of the grid have published numbers only, ours only, or both."""

from collections.abc import Sequence

from ream.analysis.html.statements import counted, listed
from ream.analysis.results.rows import ORIGINAL, OURS, PAPER, Row

NOTE = "Published numbers are marked “paper”: they are the paper's printed ones, not measured here."


def published_note(rows: Sequence[Row]) -> str | None:
    """A sentence or two for the head of the page; None where no row is published."""
    published, ours = (
        {_cell(row): row for row in rows if row.origin == origin and row.method != ORIGINAL} for origin in (PAPER, OURS)
    )
    if not any(row.origin == PAPER for row in rows):
        return None
    if not ours:
        return f"{NOTE} None of the numbers here are ours."
    both = [cell for cell in published if cell in ours]
    alone: dict[str, int] = {}
    for cell, row in published.items():
        if cell not in ours:
            name = f"{row.method} at {row.experts} experts"
            alone[name] = alone.get(name, 0) + 1
    said = f"{NOTE} {counted(len(both), 'cell has', 'cells have')} both ours and the paper's."
    if alone:
        parts = [f"{name} ({counted(count, 'mix', 'mixes')})" for name, count in alone.items()]
        said += f" Only published: {listed(parts)}."
    return said


def _cell(row: Row) -> object:
    return row.model, row.method, row.experts, row.mix_key
