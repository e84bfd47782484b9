"""The table of results: every evaluated model with its cost against the original."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from ream.evaluation.scores import Cell


def ordered(cells: Sequence[Cell], mixes: Sequence[str], methods: Sequence[str], sizes: Sequence[int]) -> list[Cell]:
    """The original first, then by mix, size and method in the order of the params file; other cells fall away."""
    place = {(mix, method, size): (mixes.index(mix), sizes.index(size), methods.index(method))
             for mix in mixes for method in methods for size in sizes}  # fmt: skip
    grid = [cell for cell in cells if (cell.mix, cell.method, cell.experts) in place]
    original = [cell for cell in cells if cell.method is None]
    return original + sorted(grid, key=lambda cell: place[str(cell.mix), str(cell.method), cell.experts])


def markdown(cells: Sequence[Cell], command: str) -> str:
    """One Markdown table a mix, the original in the first row of each."""
    original = [cell for cell in cells if cell.method is None]
    sources = list(dict.fromkeys(source for cell in cells for source in cell.loss))
    head = [
        "experts",
        "method",
        "parameters",
        *(f"loss {source}" for source in sources),
        "mean loss",
        "MC",
        "GEN",
        "AVG",
    ]
    lines = [
        "# Results",
        "",
        f"Made by `{command}`. Loss is held-out, in nats a token; MC, GEN and AVG in percent.",
        "",
    ]
    for mix in dict.fromkeys(cell.mix for cell in cells if cell.mix is not None):
        rows = original + [cell for cell in cells if cell.mix == mix]
        lines += [f"## Calibration mix `{mix}`", "", _line(head), _line(["---"] * len(head))]
        lines += [_line(_row(cell, sources)) for cell in rows]
        lines.append("")
    return "\n".join(lines)


def flat_csv(cells: Sequence[Cell]) -> str:
    """The same as CSV: a row a model, for dvc plots and for people's own tools."""
    sources = list(dict.fromkeys(source for cell in cells for source in cell.loss))
    tasks = list(dict.fromkeys(task for cell in cells for task in cell.tasks))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    losses = [f"loss_{source}" for source in sources]
    writer.writerow(
        ["cell", "mix", "method", "experts", "parameters", *losses, "mean_loss", "mc", "gen", "avg", *tasks]
    )
    for cell in cells:
        writer.writerow(
            [
                label(cell), cell.mix or "", cell.method or "original", cell.experts, cell.parameters,
                *(cell.loss[source].loss if source in cell.loss else "" for source in sources),
                *("" if value is None else value for value in (cell.mean_loss, cell.mc, cell.gen, cell.avg)),
                *(cell.tasks[task].value if task in cell.tasks else "" for task in tasks),
            ]
        )  # fmt: skip
    return text.getvalue()


def metrics(cells: Sequence[Cell]) -> dict[str, Any]:
    """The same as a tree for dvc metrics: mix, method, experts, score."""
    tree: dict[str, Any] = {}
    for cell in cells:
        values = {"mean_loss": cell.mean_loss, "mc": cell.mc, "gen": cell.gen, "avg": cell.avg}
        leaf = {name: round(value, 4) for name, value in values.items() if value is not None}
        if cell.method is None:
            tree["original"] = leaf
        else:
            tree.setdefault(str(cell.mix), {}).setdefault(cell.method, {})[str(cell.experts)] = leaf
    return tree


def label(cell: Cell) -> str:
    """A cell's name in plots."""
    return f"{cell.mix} {cell.method} {cell.experts}" if cell.method else f"original {cell.experts}"


def _row(cell: Cell, sources: Sequence[str]) -> list[str]:
    def shown(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    return [
        str(cell.experts),
        cell.method or "**original**",
        f"{cell.parameters / 1e6:.2f} M" if cell.parameters < 1e9 else f"{cell.parameters / 1e9:.2f} B",
        *(shown(cell.loss[source].loss if source in cell.loss else None, 3) for source in sources),
        shown(cell.mean_loss, 3),
        *(shown(value, 1) for value in (cell.mc, cell.gen, cell.avg)),
    ]


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"
