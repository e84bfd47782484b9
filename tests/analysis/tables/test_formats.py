import csv
import io
import re

import pytest

from ream.analysis.tables.formats import RENDERERS, csv_text, latex, markdown
from ream.analysis.tables.table import Column, Table

TABLE = Table(
    name="table 1",
    caption="Scores_of 50% & more",
    columns=(Column("method"), Column("a|b", 1), Column("Δ", 1, signed=True), Column("n")),
    rows=(("ream_x", 12.345, -1.25, 3), ("<b>*p*</b>", None, 0.5, None), ("[c] {d} $e$ ~^\\", 1234.5, None, 10)),
    bold=frozenset({(0, 1)}),
    rules=(2,),
)


def test_markdown_by_hand():
    assert markdown(TABLE) == (
        "Scores\\_of 50% & more\n"
        "\n"
        "| method | a\\|b | Δ | n |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| ream\\_x | **12.3** | −1.2 | 3 |\n"
        "| \\<b\\>\\*p\\*\\</b\\> | – | +0.5 | – |\n"
        "| \\[c\\] {d} $e$ \\~^\\\\ | 1,234.5 | – | 10 |\n"
    )


def test_csv_keeps_all_digits_and_any_text():
    rows = list(csv.reader(io.StringIO(csv_text(TABLE))))
    assert rows[0] == ["method", "a|b", "Δ", "n"]
    assert rows[1] == ["ream_x", "12.345", "-1.25", "3"]
    assert rows[2] == ["<b>*p*</b>", "", "0.5", ""]
    odd = Table("t", "", (Column("x"),), (('say "a, b"\nc',),))
    assert list(csv.reader(io.StringIO(csv_text(odd)))) == [["x"], ['say "a, b"\nc']]


def test_no_text_can_break_a_row():
    everything = "".join(map(chr, range(32, 127))) + "\n\t end"
    table = Table("t", everything, (Column(everything), Column("v", 1)), ((everything, 1.0),))
    lines = markdown(table).splitlines()
    assert len(lines) == 5
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in lines[2:])
    body = [line for line in latex(table).splitlines() if line.endswith(r"\\")]
    assert len(body) == 2
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == 1
        assert not re.search(r"(?<!\\)[#%_]", line)


def test_intervals_by_hand():
    # the longer side of 98 to 99.5 and 100 is shown
    columns, rows = (Column("m"), Column("Δ", 1, signed=True), Column("v", 1)), (("a", -1.0, 99.5), ("b", 2.0, None))
    table = Table("t", "c", columns, rows, intervals={(0, 1): (-2.5, 0.5), (0, 2): (98.0, 100.0)})
    assert markdown(table).splitlines()[4:] == ["| a | −1.0 ± 1.5 | 99.5 ± 1.5 |", "| b | +2.0 | – |"]
    assert r"a & $-$1.0 $\pm$ 1.5 & 99.5 $\pm$ 1.5 \\" in latex(table)
    assert csv_text(table) == "m,Δ,Δ low,Δ high,v,v low,v high\na,-1.0,-2.5,0.5,99.5,98.0,100.0\nb,2.0,,,,,\n"


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="row 1 has 2 values for 1 columns"):
        Table("t", "", (Column("x"),), ((1,), (1, 2)))


def test_a_table_without_rows_is_a_head():
    empty = Table("t", "none", (Column("x"), Column("y", 1)), ())
    assert markdown(empty) == "none\n\n| x | y |\n| --- | --- |\n"
    assert csv_text(empty) == "x,y\n"
    assert r"\begin{tabular}{ll}" in latex(empty)
    assert list(RENDERERS) == ["md", "csv", "tex"]
