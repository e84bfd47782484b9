"""The results as one table: every evaluated model with its losses and scores, as Markdown and CSV."""

from collections.abc import Mapping, Sequence

from ream.analysis.tables.csv_rows import csv_of
from ream.analysis.tables.fidelity import ABOUT_KL, KL_DIGITS
from ream.analysis.tables.pipes import pipe_table
from ream.analysis.tables.table import UNKNOWN
from ream.evaluation.fidelity_records import Measures
from ream.evaluation.scores import Cell

Closeness = Mapping[tuple[str | None, str | None, int], Measures]  # mix, method and experts to the means over sources
MEASURES = ("kl", "top_1", "perplexity_ratio")


def markdown(cells: Sequence[Cell], command: str, closeness: Closeness | None = None) -> str:
    """One Markdown table per mix, with the original in the first row of each.

    Args:
        cells: the evaluated models, the original among them.
        command: what the reader ran, to be named in the text.
        closeness: how close the models' predictions are to the original's, where that was measured.
    """
    original = [cell for cell in cells if cell.method is None]
    sources = _sources(cells)
    losses = [f"loss {source}" for source in sources]
    known = closeness or {}
    head = ["experts", "method", "parameters", *losses, "mean loss", "MC", "GEN", "AVG", *(["KL"] if known else [])]
    about_kl = f" {ABOUT_KL}." if known else ""
    lines = [
        "# Results",
        "",
        f"Made by `{command}`. Loss is held-out, in nats per token; MC, GEN and AVG in percent.{about_kl}",
        "",
    ]
    for mix in dict.fromkeys(cell.mix for cell in cells if cell.mix is not None):
        rows = original + [cell for cell in cells if cell.mix == mix]
        texts = [_row(cell, sources) for cell in rows]
        if known:
            texts = [
                [*text, _shown(_measure(cell, known, "kl"), KL_DIGITS)] for text, cell in zip(texts, rows, strict=True)
            ]
        lines += [f"## Calibration mix `{mix}`", "", *pipe_table(head, texts), ""]
    return "\n".join(lines)


def flat_csv(cells: Sequence[Cell], closeness: Closeness | None = None) -> str:
    """All cells as CSV, a row per model, for people's own tools; see `markdown`."""
    known = closeness or {}
    sources = _sources(cells)
    tasks = list(dict.fromkeys(task for cell in cells for task in cell.tasks))
    losses = [f"loss_{source}" for source in sources]
    measures = MEASURES if known else ()
    scores = ["mean_loss", "mc", "gen", "avg"]
    head = ["cell", "mix", "method", "experts", "parameters", *losses, *scores, *measures, *tasks]
    rows: list[list[object]] = [[*head]]
    for cell in cells:
        rows.append(
            [
                label(cell), cell.mix or "", cell.method or "original", cell.experts, cell.parameters,
                *(cell.loss[source].loss if source in cell.loss else "" for source in sources),
                *("" if value is None else value for value in (cell.mean_loss, cell.mc, cell.gen, cell.avg)),
                *(value if (value := _measure(cell, known, name)) is not None else "" for name in measures),
                *(cell.tasks[task].value if task in cell.tasks else "" for task in tasks),
            ]
        )  # fmt: skip
    return csv_of(rows)


def label(cell: Cell) -> str:
    """A cell's name in plots."""
    return f"{cell.mix} {cell.method} {cell.experts}" if cell.method else f"original {cell.experts}"


def _measure(cell: Cell, closeness: Closeness, name: str) -> float | None:
    """One of MEASURES of a cell; None where it was not measured."""
    found = closeness.get((cell.mix, cell.method, cell.experts))
    value: float | None = None if found is None else getattr(found, name).value
    return value


def _sources(cells: Sequence[Cell]) -> list[str]:
    """The sources of the held-out losses."""
    return list(dict.fromkeys(source for cell in cells for source in cell.loss))


def _row(cell: Cell, sources: Sequence[str]) -> list[str]:
    """A cell as text for Markdown."""
    return [
        str(cell.experts),
        cell.method or "**original**",
        f"{cell.parameters / 1e6:.2f} M" if cell.parameters < 1e9 else f"{cell.parameters / 1e9:.2f} B",
        *(_shown(cell.loss[source].loss if source in cell.loss else None, 3) for source in sources),
        _shown(cell.mean_loss, 3),
        *(_shown(value, 1) for value in (cell.mc, cell.gen, cell.avg)),
    ]


def _shown(value: float | None, digits: int) -> str:
    """A number as people read it."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"
