"""The order of rows in tables, and the best mix of each method."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ream.analysis.results.methods import method_place
from ream.analysis.results.rows import ORIGINAL, Row


class Place(NamedTuple):
    """Sort key of a row: by model, size from large to small, method, mix and origin as they come."""

    model: int
    size: int
    method: tuple[int, str]
    mix: int
    origin: int


def places(rows: Sequence[Row]) -> Callable[[Row], Place]:
    """A function that gives each of the rows its place among them."""
    models, mixes, origins = (
        {value: place for place, value in enumerate(dict.fromkeys(values))}
        for values in ([row.model for row in rows], [row.mix_key for row in rows], [row.origin for row in rows])
    )

    def place(row: Row) -> Place:
        return Place(models[row.model], -row.experts, method_place(row.method), mixes[row.mix_key], origins[row.origin])

    return place


def one_original(rows: Sequence[Row]) -> list[Row]:
    """The rows with only the first original of each model and origin: published tables repeat it."""
    originals: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        if row.method != ORIGINAL or (row.model, row.origin) not in originals:
            kept.append(row)
        if row.method == ORIGINAL:
            originals.add((row.model, row.origin))
    return kept


def best_by_gen(rows: Sequence[Row]) -> list[Row]:
    """Originals, and the row of highest GEN for each model, size, method and origin; ties go to the earlier row."""
    best: dict[tuple[str, int, str, str], Row] = {}
    for row in one_original(rows):
        key = (row.model, row.experts, row.method, row.origin)
        if row.gen is not None and (key not in best or row.gen > (best[key].gen or 0.0)):
            best[key] = row
    return sorted(best.values(), key=places(rows))
