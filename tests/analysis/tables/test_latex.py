"""Tables as LaTeX: by hand, and set by TeX where there is one."""

import re
import shutil
import subprocess

import pytest

from ream.analysis.tables.latex import PACKAGES, latex, layout_of
from ream.analysis.tables.table import Column, Table
from tests.analysis.tables.test_formats import TABLE

TEX = shutil.which("pdflatex")
MOST_OVER = 1.0  # points that a line may be too wide by


def test_a_small_table_by_hand():
    assert latex(TABLE) == (
        "% needs \\usepackage{booktabs, longtable, pdflscape, graphicx, rotating}\n"
        "\\begingroup\n\\setlength{\\tabcolsep}{3pt}\n"
        "\\begin{table}[htbp]\n\\centering\n\\small\n"
        "\\caption{Scores\\_of 50\\% \\& more}\n"
        "\\label{tab:table-1}\n"
        "\\begin{tabular}{lrrr}\n\\toprule\n"
        "method & a\\textbar{}b & $\\Delta$ & n \\\\\n\\midrule\n"
        "ream\\_x & \\textbf{12.3} & $-$1.2 & 3 \\\\\n"
        "\\textless{}b\\textgreater{}*p*\\textless{}/b\\textgreater{} & -- & +0.5 & -- \\\\\n"
        "\\midrule\n"
        "{[}c] \\{d\\} \\$e\\$ \\textasciitilde{}\\textasciicircum{}\\textbackslash{} & 1,234.5 & -- & 10 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n\\endgroup\n"
    )


def wide(columns, rows, letters=12):
    """A table of texts of wide letters, as method names in capitals would be."""
    names = tuple(Column(f"column {number}") for number in range(columns))
    return Table("table-w", "Wide; and long", names, tuple(("Ma" * (letters // 2),) * columns for _ in range(rows)))


def test_wide_tables_lie_on_their_side_and_long_ones_go_over_pages():
    shapes = {(columns, rows): layout_of(wide(columns, rows)) for columns in (3, 8, 40) for rows in (2, 300)}
    assert [shapes[columns, 2].landscape for columns in (3, 8, 40)] == [False, True, True]
    assert [shapes[columns, 2].scale < 1 for columns in (3, 8, 40)] == [False, False, True]
    assert "longtable" not in latex(wide(3, 2)).partition("\n")[2]
    assert latex(wide(3, 300)).count(r"\begin{longtable}") == 1
    parts = latex(wide(40, 300))
    assert parts.count(r"\begin{sidewaystable}") >= 2
    assert parts.count(r"\label") == 1, "a label stands once"
    assert parts.count("continued") == parts.count(r"\begin{sidewaystable}") - 1
    assert parts.count("Ma" * 6) == 40 * 300, "no row is lost"


@pytest.mark.slow
@pytest.mark.skipif(TEX is None, reason="pdflatex is not installed")
def test_tex_sets_every_table_within_the_page(tmp_path):
    tables = [TABLE, *(wide(columns, rows) for columns in (3, 8, 11, 40) for rows in (2, 300))]
    document = "\n".join(
        [r"\documentclass{article}", *(rf"\usepackage{{{name}}}" for name in PACKAGES), r"\begin{document}",
         *(latex(table) + r"\clearpage" for table in tables), r"\end{document}"]
    )  # fmt: skip
    (tmp_path / "all.tex").write_text(document, encoding="utf-8")
    command = [str(TEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    for _ in range(2):  # longtable settles its columns in the second run
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(encoding="utf-8", errors="replace")
    over = [float(points) for points in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt too", log)]
    assert [points for points in over if points > MOST_OVER] == []
    assert "Float too large" not in log
