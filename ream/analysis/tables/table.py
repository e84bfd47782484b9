"""A table, and the same table as Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Value = str | int | float | None

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "^": r"\textasciicircum{}",
    "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "Δ": r"$\Delta$",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column: its name, and the digits that Markdown and LaTeX show of its numbers; None for text and whole numbers.

    Attributes:
        signed: numbers are differences and get a sign.
    """

    name: str
    digits: int | None = None
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """A table of values; None is a value that is not known.

    Attributes:
        name: of its files, without suffix; the label in LaTeX.
        caption: plain text.
        rows: a value for every column.
        bold: (row, column) of the values to point out.
        rules: rows with a line above them.
        intervals: (row, column) of a number to the (low, high) it lies between; Markdown and LaTeX show the half-width,
            CSV has both ends in columns of their own, "NAME low" and "NAME high".
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    rules: tuple[int, ...] = ()
    intervals: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse rows that do not fit the columns.

        Raises:
            ValueError: a row has more or fewer values.
        """
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} values for {len(self.columns)} columns")

    def shown(self, row: int, column: int) -> str:
        """A value as people read it, not yet escaped; "–" where it is not known."""
        value, kind = self.rows[row][column], self.columns[column]
        if value is None:
            return "–"
        if isinstance(value, str) or kind.digits is None:
            return str(value)
        text = f"{value:{'+' if kind.signed else ''},.{kind.digits}f}"
        text = text.replace("-", "−") if kind.signed else text
        if (row, column) not in self.intervals:
            return text
        low, high = self.intervals[row, column]
        # the longer side: where an interval is cut at the end of the scale the other one would look too certain
        return f"{text} ± {max(high - value, value - low):.{kind.digits}f}"

    def is_number(self, column: int) -> bool:
        """Whether all known values of a column are numbers (there is one at least)."""
        known = [row[column] for row in self.rows if row[column] is not None]
        return bool(known) and not any(isinstance(value, str) for value in known)


def markdown(table: Table) -> str:
    """GitHub's Markdown: the caption as a paragraph, then the table; numbers to the right."""
    alignment = ["---:" if table.is_number(place) else "---" for place in range(len(table.columns))]
    lines = [_pipes([_markdown(column.name) for column in table.columns]), _pipes(alignment)]
    for row in range(len(table.rows)):
        fields = [_markdown(table.shown(row, column)) for column in range(len(table.columns))]
        lines.append(_pipes([f"**{text}**" if (row, place) in table.bold else text
                             for place, text in enumerate(fields)]))  # fmt: skip
    return "\n".join([_markdown(table.caption), "", *lines]) + "\n"


def csv_text(table: Table) -> str:
    """CSV: names of the columns, then the values with all their digits; nothing where a value is not known.

    A column with intervals is followed by their low and high ends.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    wide = {column for _, column in table.intervals}
    names = [[column.name] + [f"{column.name} {end}" for end in ("low", "high") if place in wide]
             for place, column in enumerate(table.columns)]  # fmt: skip
    writer.writerow([name for of_column in names for name in of_column])
    for number, row in enumerate(table.rows):
        fields: list[Value] = []
        for place, value in enumerate(row):
            fields.append("" if value is None else value)
            fields += table.intervals.get((number, place), ("", "")) if place in wide else ()
        writer.writerow(fields)
    return text.getvalue()


def latex(table: Table) -> str:
    """LaTeX, a table float; needs the package booktabs."""
    form = "".join("r" if table.is_number(place) else "l" for place in range(len(table.columns)))
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.caption)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        _ampersands([_latex(column.name) for column in table.columns]),
        r"\midrule",
    ]
    for row in range(len(table.rows)):
        if row in table.rules and row:
            lines.append(r"\midrule")
        fields = [_latex(table.shown(row, column)) for column in range(len(table.columns))]
        lines.append(_ampersands([rf"\textbf{{{text}}}" if (row, place) in table.bold else text
                                  for place, text in enumerate(fields)]))  # fmt: skip
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


RENDERERS = {"md": markdown, "csv": csv_text, "tex": latex}


def _markdown(text: str) -> str:
    # a backslash keeps each of them from being markup; a line break would end the row
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))


def _pipes(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _ampersands(fields: Sequence[str]) -> str:
    # braces: a field that starts with [ would be read as the argument of the \\ before it
    return " & ".join("{[}" + text[1:] if text.startswith("[") else text for text in fields) + r" \\"
