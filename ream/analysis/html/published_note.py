"""The note on published numbers: which cells of the grid have the paper's numbers, ours, or both."""

from collections.abc import Sequence

from ream.analysis.html.statements import counted, listed
from ream.analysis.results.rows import ORIGINAL, OURS, PAPER, Row

NOTE = "Numbers marked “paper” are those printed in the paper; they were not measured here."


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
    published_only: dict[str, int] = {}
    for cell, row in published.items():
        if cell not in ours:
            name = f"{row.method} at {row.experts} experts"
            published_only[name] = published_only.get(name, 0) + 1
    text = f"{NOTE} {counted(len(both), 'cell has', 'cells have')} both our numbers and the paper's."
    if published_only:
        parts = [f"{name} ({counted(count, 'mix', 'mixes')})" for name, count in published_only.items()]
        text += f" Published only: {listed(parts)}."
    return text


def _cell(row: Row) -> object:
    """Key of a cell of the grid."""
    return row.model, row.method, row.experts, row.mix_key
