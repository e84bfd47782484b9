"""Rows as CSV, in which no text is a formula."""

import csv
import io
from collections.abc import Iterable
from contextlib import suppress

FORMULA = ("=", "+", "-", "@")  # with which a formula begins in a spreadsheet, whatever blanks precede it


def csv_of(rows: Iterable[Iterable[object]]) -> str:
    """Rows of values as CSV.

    Names of models and tasks come from strangers, and a spreadsheet executes a cell that begins like a formula. Such
    text gets an apostrophe before it and is quoted. Numbers, also as text, stay as they are. Carriage returns become
    spaces, because Python's writer does not quote them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_harmless(value) for value in row])
    return text.getvalue()


def _harmless(value: object) -> object:
    """A value that no spreadsheet executes."""
    if not isinstance(value, str):
        return value
    value = value.replace("\r", " ")
    if not value.lstrip().startswith(FORMULA):
        return value
    with suppress(ValueError):
        float(value)
        return value
    return f"'{value}"
