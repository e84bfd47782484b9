"""Tables of the refit study, in Markdown, from what has been measured."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from refit_bench import SOURCES
from refit_cells import METHODS, ORIGINAL, Cell, baseline, quick, scored

from ream.analysis.tables.pipes import pipe_table


def recovered(lines: Mapping[str, dict[str, Any]], cell: Cell) -> dict[str, float]:
    """Of each source and of their mean, the share of one-shot REAP's increase that the cell does not have."""
    before, reap, after = (_with_mean(lines[each.key]["loss"]) for each in (ORIGINAL, baseline(cell), cell))
    return {source: (reap[source] - after[source]) / (reap[source] - before[source]) for source in before}


def _with_mean(loss: Mapping[str, float]) -> dict[str, float]:
    return {**loss, "mean": statistics.fmean(loss.values())}


def table(lines: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: a row for each setting, mean over its seeds (± standard deviation of the mean column)."""
    settings: dict[str, list[Cell]] = {}
    for measured in lines.values():
        cell = Cell(**measured["cell"])
        if cell.method not in ("original", "one-shot") and baseline(cell).key in lines and cell not in quick():
            settings.setdefault(replace(cell, seed=0).key, []).append(cell)
    head = ["K", "experts are", "changed", "target", "λ", "fit", "sequences", "seeds", "loss", *SOURCES, "mean"]
    rows = []
    for cells in sorted(settings.values(), key=lambda each: _place(each[0])):
        cell, shares = cells[0], [recovered(lines, each) for each in cells]
        loss = statistics.fmean(_with_mean(lines[each.key]["loss"])["mean"] for each in cells)
        means = [f"{statistics.fmean(share[source] for share in shares):.1%}" for source in (*SOURCES, "mean")]
        if len(cells) > 1:
            means[-1] += f" ± {statistics.stdev(share['mean'] for share in shares):.1%}"
        changed = ", ".join(f"{key} {value}" for key, value in json.loads(cell.changes).items())
        fitted = (cell.target, f"{cell.ridge:g}") if cell.target else ("no refit", "")
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
    """Markdown: MC and GEN of what has been scored; "" where nothing has."""
    if not lines:
        return ""
    rows = []
    for cell in scored():
        if (line := lines.get(cell.key)) is not None:
            named = (cell.experts, cell.method, cell.target or "no refit", cell.sequences)
            rows.append([*map(str, named), f"{line['mc']:.1f}", f"{line['gen']:.1f}"])
    return "\n".join(pipe_table(["K", "experts are", "target", "sequences", "MC", "GEN"], rows))


def _place(cell: Cell) -> tuple[Any, ...]:
    """Rows in the table's order."""
    method = list(METHODS).index(cell.method)
    return (-cell.experts, method, cell.target or "", cell.changes, cell.iterations, cell.sequences, cell.ridge)
