"""Tables of the refit study, in Markdown."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from refit_bench import SOURCES
from refit_cells import METHODS, ORIGINAL, Cell, baseline, quick, scored

from ream.analysis.tables.pipes import pipe_table


def recovered(lines: Mapping[str, dict[str, Any]], cell: Cell) -> dict[str, float]:
    """The fraction of one-shot REAP's increase in loss that a cell avoids, for each source and for the mean loss.

    Args:
        lines: measured lines by the key of their cell; those of the original, the baseline and the cell are read.
        cell: the cell.
    """
    before, reap, after = (_with_mean(lines[key]["loss"]) for key in (ORIGINAL.key, baseline(cell).key, cell.key))
    return {source: (reap[source] - after[source]) / (reap[source] - before[source]) for source in before}


def _with_mean(loss: Mapping[str, float]) -> dict[str, float]:
    """Losses by source, with their mean."""
    return {**loss, "mean": statistics.fmean(loss.values())}


def table(lines: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: a row for each setting, with means over its seeds and the standard deviation of the last column."""
    settings: dict[str, list[Cell]] = {}
    for measured in lines.values():
        cell = Cell(**measured["cell"])
        if cell.method not in ("original", "one-shot") and baseline(cell).key in lines and cell not in quick():
            settings.setdefault(replace(cell, seed=0).key, []).append(cell)
    head = ["K", "experts are", "changed", "target", "λ", "fit", "sequences", "seeds", "loss", *SOURCES, "mean"]
    rows = []
    for cells in sorted(settings.values(), key=lambda cells: _place(cells[0])):
        cell, fractions = cells[0], [recovered(lines, seed_cell) for seed_cell in cells]
        loss = statistics.fmean(_with_mean(lines[seed_cell.key]["loss"])["mean"] for seed_cell in cells)
        means = [f"{statistics.fmean(fraction[source] for fraction in fractions):.1%}" for source in (*SOURCES, "mean")]
        if len(cells) > 1:
            means[-1] += f" ± {statistics.stdev(fraction['mean'] for fraction in fractions):.1%}"
        changed = ", ".join(f"{key} {value}" for key, value in json.loads(cell.changes).items())
        ridge = cell.ridge if isinstance(cell.ridge, str) else f"{cell.ridge:g}"
        fitted = (cell.target, ridge) if cell.target else ("no refit", "")
        named = (
            cell.experts,
            cell.method,
            changed,
            *fitted,
            cell.iterations or "",
            cell.sequences,
            len(cells),
            f"{loss:.3f}",
            *means,
        )
        rows.append([str(value) for value in named])
    return "\n".join(pipe_table(head, rows))


def suite_table(lines: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: MC and GEN of the scored cells, in percent; "" if there are none."""
    if not lines:
        return ""
    rows = []
    for cell in scored():
        if (line := lines.get(cell.key)) is not None:
            named = (cell.experts, cell.method, cell.target or "no refit", cell.sequences)
            rows.append([*map(str, named), f"{line['mc']:.1f}", f"{line['gen']:.1f}"])
    return "\n".join(pipe_table(["K", "experts are", "target", "sequences", "MC", "GEN"], rows))


def _place(cell: Cell) -> tuple[Any, ...]:
    """The sort key of a cell's row."""
    method = list(METHODS).index(cell.method)
    return (-cell.experts, method, cell.target or "", cell.changes, cell.iterations, cell.sequences, str(cell.ridge))
