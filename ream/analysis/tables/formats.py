"""A table as Markdown, CSV and LaTeX."""

import re
from collections.abc import Sequence

from ream.analysis.tables.csv_rows import csv_of
from ream.analysis.tables.pipes import pipe_table
from ream.analysis.tables.table import Table, Value

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "^": r"\textasciicircum{}",
    "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "Δ": r"$\Delta$",
}  # fmt: skip


def markdown(table: Table) -> str:
    """GitHub's Markdown: the caption as a paragraph, then the table with numbers aligned to the right."""
    places = range(len(table.columns))
    rows = []
    for row in range(len(table.rows)):
        fields = [_markdown(table.shown(row, column)) for column in places]
        rows.append([f"**{text}**" if (row, place) in table.bold else text for place, text in enumerate(fields)])
    head = [_markdown(column.name) for column in table.columns]
    lines = pipe_table(head, rows, [place for place in places if table.is_number(place)])
    return "\n".join([_markdown(table.caption), "", *lines]) + "\n"


def csv_text(table: Table) -> str:
    """CSV: the names of the columns, then the values with all their digits; unknown values are empty.

    A column with intervals is followed by their low and high ends.
    """
    with_interval = {column for _, column in table.intervals}
    names = [[column.name] + [f"{column.name} {end}" for end in ("low", "high") if place in with_interval]
             for place, column in enumerate(table.columns)]  # fmt: skip
    rows: list[list[Value]] = [[name for of_column in names for name in of_column]]
    for number, row in enumerate(table.rows):
        fields: list[Value] = []
        for place, value in enumerate(row):
            fields.append("" if value is None else value)
            fields += table.intervals.get((number, place), ("", "")) if place in with_interval else ()
        rows.append(fields)
    return csv_of(rows)


def latex(table: Table) -> str:
    """LaTeX: a table float, which needs the package booktabs."""
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
    """Text with its markup escaped, on one line: a line break would end the row."""
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", " ".join(text.split()))


def _latex(text: str) -> str:
    """Text with LaTeX's special characters escaped, on one line."""
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))


def _ampersands(fields: Sequence[str]) -> str:
    """A row in LaTeX; braces keep a leading [ from being read as the argument of the preceding \\\\."""
    return " & ".join("{[}" + text[1:] if text.startswith("[") else text for text in fields) + r" \\"
