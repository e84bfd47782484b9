"""The results as one table: every evaluated model with its losses and scores, as Markdown and CSV."""

from collections.abc import Sequence

from ream.analysis.tables.csv_rows import csv_of
from ream.analysis.tables.pipes import pipe_table
from ream.analysis.tables.table import UNKNOWN
from ream.evaluation.scores import Cell


def markdown(cells: Sequence[Cell], command: str) -> str:
    """One Markdown table per mix, with the original in the first row of each.

    Args:
        cells: the evaluated models, the original among them.
        command: what the reader ran, to be named in the text.
    """
    original = [cell for cell in cells if cell.method is None]
    sources = _sources(cells)
    losses = [f"loss {source}" for source in sources]
    head = ["experts", "method", "parameters", *losses, "mean loss", "MC", "GEN", "AVG"]
    lines = [
        "# Results",
        "",
        f"Made by `{command}`. Loss is held-out, in nats per token; MC, GEN and AVG in percent.",
        "",
    ]
    for mix in dict.fromkeys(cell.mix for cell in cells if cell.mix is not None):
        rows = original + [cell for cell in cells if cell.mix == mix]
        lines += [f"## Calibration mix `{mix}`", "", *pipe_table(head, [_row(cell, sources) for cell in rows]), ""]
    return "\n".join(lines)


def flat_csv(cells: Sequence[Cell]) -> str:
    """All cells as CSV, a row per model, for people's own tools."""
    sources = _sources(cells)
    tasks = list(dict.fromkeys(task for cell in cells for task in cell.tasks))
    losses = [f"loss_{source}" for source in sources]
    head = ["cell", "mix", "method", "experts", "parameters", *losses, "mean_loss", "mc", "gen", "avg", *tasks]
    rows: list[list[object]] = [[*head]]
    for cell in cells:
        rows.append(
            [
                label(cell), cell.mix or "", cell.method or "original", cell.experts, cell.parameters,
                *(cell.loss[source].loss if source in cell.loss else "" for source in sources),
                *("" if value is None else value for value in (cell.mean_loss, cell.mc, cell.gen, cell.avg)),
                *(cell.tasks[task].value if task in cell.tasks else "" for task in tasks),
            ]
        )  # fmt: skip
    return csv_of(rows)


def label(cell: Cell) -> str:
    """A cell's name in plots."""
    return f"{cell.mix} {cell.method} {cell.experts}" if cell.method else f"original {cell.experts}"


def _sources(cells: Sequence[Cell]) -> list[str]:
    """The sources of the held-out losses."""
    return list(dict.fromkeys(source for cell in cells for source in cell.loss))


def _row(cell: Cell, sources: Sequence[str]) -> list[str]:
    """A cell as text for Markdown."""

    def shown(value: float | None, digits: int) -> str:
        return UNKNOWN if value is None else f"{value:.{digits}f}"

    return [
        str(cell.experts),
        cell.method or "**original**",
        f"{cell.parameters / 1e6:.2f} M" if cell.parameters < 1e9 else f"{cell.parameters / 1e9:.2f} B",
        *(shown(cell.loss[source].loss if source in cell.loss else None, 3) for source in sources),
        shown(cell.mean_loss, 3),
        *(shown(value, 1) for value in (cell.mc, cell.gen, cell.avg)),
    ]
