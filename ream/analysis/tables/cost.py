"""The table of cost: what each method takes to make a model, and what the model takes to keep."""

from collections.abc import Sequence
from dataclasses import dataclass

from ream.analysis.results.methods import beyond_paper, method_place
from ream.analysis.results.rows import ORIGINAL
from ream.analysis.tables.table import Column, Table, Value


@dataclass(frozen=True)
class Cost:
    """The cost of making one model and of keeping it; None where a number is not known.

    Attributes:
        method: the method's name; ORIGINAL for the original.
        experts: routed experts per layer.
        parameters: number of parameters of the model.
        bytes: size of its checkpoint.
        seconds: time from the original and the calibration text to the recipe.
        peak_bytes: peak memory in that time.
    """

    method: str
    experts: int
    parameters: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    peak_bytes: int | None = None


def table_of_cost(costs: Sequence[Cost]) -> Table:
    """Parameters, bytes, seconds and peak memory of every method; without the last two where none are known.

    GB are 10^9 bytes, percentages are of the original's parameters.
    """
    original = next((cost for cost in costs if cost.method == ORIGINAL), None)
    ordered = sorted(costs, key=lambda cost: (cost.method != ORIGINAL, -cost.experts, method_place(cost.method)))
    columns: tuple[Column, ...] = (
        Column("experts"), Column("method"), Column("parameters (million)", 2), Column("% of the original", 1),
        Column("checkpoint (GB)", 3), Column("seconds", 1), Column("peak memory (GB)", 3),
    )  # fmt: skip
    lines: list[tuple[Value, ...]] = []
    for cost in ordered:
        share = None
        if original is not None and original.parameters and cost.parameters is not None:
            share = 100 * cost.parameters / original.parameters
        lines.append((cost.experts, cost.method, _times(cost.parameters, 1e-6), share, _times(cost.bytes, 1e-9),
                      cost.seconds, _times(cost.peak_bytes, 1e-9)))  # fmt: skip
    if all(cost.seconds is None and cost.peak_bytes is None for cost in ordered):
        columns, lines = columns[:-2], [line[:-2] for line in lines]
    sizes = [cost.experts for cost in ordered]
    rules = tuple(place for place in range(1, len(sizes)) if sizes[place] != sizes[place - 1])
    caption = f"Cost of each method{beyond_paper(cost.method for cost in ordered)}"
    return Table("table-cost", caption, columns, tuple(lines), rules=rules)


def _times(value: float | None, factor: float) -> float | None:
    """The value in another unit; None where it is not known."""
    return None if value is None else value * factor
