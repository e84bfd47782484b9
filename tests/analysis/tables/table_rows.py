"""Rows to make tables of, and tables read back."""

import csv
import io
from pathlib import Path

from ream.analysis.results.rows import Row, Score
from ream.analysis.tables.formats import csv_text

FOLDER = Path(__file__).parents[3] / "data" / "published"


def records(table):
    """The table's rows as a reader of its CSV gets them."""
    return list(csv.DictReader(io.StringIO(csv_text(table))))


def bold(table, column):
    """Rows of the bold values of a column."""
    place = [one.name for one in table.columns].index(column)
    return sorted(row for row, of in table.bold if of == place)


def row(method="ream", experts=16, gen=None, origin="ours", model="org/m", stderr=None, **changes):
    if method == "original":
        experts, changes = 32, {"ratios": {}} | changes
    tasks = {} if gen is None else {"t": Score(gen, stderr)}
    values = {"ratios": {"general": 0.5, "code": 0.5}, "gen": gen, "gen_tasks": tasks} | changes
    return Row(origin=origin, model=model, method=method, experts=experts, **values)
