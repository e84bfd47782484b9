"""A table as Markdown and CSV; `latex` has LaTeX."""

import re

from ream.analysis.tables.csv_rows import csv_of
from ream.analysis.tables.latex import latex
from ream.analysis.tables.pipes import pipe_table
from ream.analysis.tables.table import Table, Value


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


RENDERERS = {"md": markdown, "csv": csv_text, "tex": latex}


def _markdown(text: str) -> str:
    """Text with its markup escaped, on one line: a line break would end the row."""
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", " ".join(text.split()))
