"""A table as LaTeX that fits a page: in the largest size of type that fits, on its side or over several pages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ream.analysis.tables.table import Table

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "^": r"\textasciicircum{}",
    "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "Δ": r"$\Delta$",
}  # fmt: skip
PACKAGES = ("booktabs", "longtable", "pdflscape", "graphicx", "rotating")
TYPE = {"small": 9, "footnotesize": 8, "scriptsize": 7, "tiny": 5}  # points, in LaTeX's class article at 10 points
WIDTH, HEIGHT = 345, 550  # points of text on its narrowest page, letter paper at 10 points
CAPTION = 40  # points that a caption takes
LINE = 1.25  # height of a row, in sizes of type; rules and caption take ROOM rows
ROOM = 12
EM = {"small": 9.3, "footnotesize": 8.5, "scriptsize": 8.0, "tiny": 6.8}  # points; small type is relatively wider
# Widths of letters in ems, Computer Modern's rounded up: of the first class that has the letter.
LETTERS = (("mwMW@%", 0.95), ("0123456789", 0.5), ("−±×–+=<>~", 0.8), (" .,:;!|'()[]/-iljtfrIs", 0.42))
CAPITAL, OTHER, BOLD = 0.76, 0.56, 1.15
GAP = 3  # points on each side of a column


@dataclass(frozen=True)
class Layout:
    """How a table is set.

    Attributes:
        type: name of the size of type.
        landscape: whether it lies on its side.
        scale: below 1 where even that is too wide.
        rows: how many rows fit a page.
    """

    type: str
    landscape: bool
    scale: float
    rows: int


def latex(table: Table) -> str:
    """The table with its caption, which needs the packages PACKAGES.

    One that is longer than a page goes over several, with its head on each; one that is wider than any page is scaled,
    in parts that fit a page.
    """
    layout = layout_of(table)
    long = len(table.rows) > layout.rows
    parts = [f"% needs \\usepackage{{{', '.join(PACKAGES)}}}", r"\begingroup"]
    parts.append(rf"\setlength{{\tabcolsep}}{{{GAP}pt}}")
    if layout.scale < 1 or not long:
        for first in range(0, max(1, len(table.rows)), layout.rows):
            parts += _float(table, range(first, min(first + layout.rows, len(table.rows))), layout)
    elif layout.landscape:
        parts += [rf"\{layout.type}", r"\begin{landscape}", *_long(table), r"\end{landscape}"]
    else:
        parts += [rf"\{layout.type}", *_long(table)]
    return "\n".join([*parts, r"\endgroup"]) + "\n"


def layout_of(table: Table) -> Layout:
    """The largest type in which the table fits upright, else on its side, else the smallest, scaled."""
    for landscape, width, height in ((False, WIDTH, HEIGHT), (True, HEIGHT, WIDTH)):
        for name, size in TYPE.items():
            if (name != "tiny" or landscape) and _width(table, EM[name]) <= width:
                return Layout(name, landscape, 1.0, int(height / (LINE * size)) - ROOM)
    scale = HEIGHT / _width(table, EM["tiny"])
    rows = int((WIDTH - CAPTION) / (LINE * TYPE["tiny"] * scale)) - ROOM
    return Layout("tiny", True, scale, max(1, rows))


def _width(table: Table, em: float) -> float:
    """The table's width in points, from its letters."""
    widest = [_ems(column.name) for column in table.columns]
    for row in range(len(table.rows)):
        for place in range(len(widest)):
            bold = BOLD if (row, place) in table.bold else 1.0
            widest[place] = max(widest[place], bold * _ems(table.shown(row, place)))
    return sum(widest) * em + 2 * GAP * len(widest)


def _ems(text: str) -> float:
    """The width of a text, in ems."""
    return sum(
        next((width for letters, width in LETTERS if letter in letters), CAPITAL if letter.isupper() else OTHER)
        for letter in text
    )


def _float(table: Table, rows: range, layout: Layout) -> list[str]:
    """The rows as one float, which sets its own type; parts after the first continue the caption."""
    first = rows.start == 0
    caption = _text(table.caption) if first else f"{_text(table.caption.partition(';')[0])}, continued"
    name = "sidewaystable" if layout.landscape else "table"
    place = "" if layout.landscape else "[htbp]"
    opening, closing = ([rf"\scalebox{{{layout.scale:.3f}}}{{%"], ["}"]) if layout.scale < 1 else ([], [])
    return [
        rf"\begin{{{name}}}{place}", r"\centering", rf"\{layout.type}",
        rf"\caption{{{caption}}}", *([_label(table)] if first else []),
        *opening, rf"\begin{{tabular}}{{{_form(table)}}}", r"\toprule", _head(table), r"\midrule",
        *_body(table, rows), r"\bottomrule", r"\end{tabular}", *closing, rf"\end{{{name}}}",
    ]  # fmt: skip


def _long(table: Table) -> list[str]:
    """All rows over as many pages as they need, with the head on each."""
    return [
        rf"\begin{{longtable}}{{{_form(table)}}}", rf"\caption{{{_text(table.caption)}}}", _label(table) + r" \\",
        r"\toprule", _head(table), r"\midrule", r"\endfirsthead", r"\toprule", _head(table), r"\midrule", r"\endhead",
        r"\bottomrule", r"\endfoot", *_body(table, range(len(table.rows))), r"\end{longtable}",
    ]  # fmt: skip


def _form(table: Table) -> str:
    """The columns, numbers aligned to the right."""
    return "".join("r" if table.is_number(place) else "l" for place in range(len(table.columns)))


def _label(table: Table) -> str:
    """The table's label."""
    return rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', table.name)}}}"


def _head(table: Table) -> str:
    """The names of the columns."""
    return _ampersands([_text(column.name) for column in table.columns])


def _body(table: Table, rows: range) -> list[str]:
    """The rows, with the table's rules between them."""
    lines = []
    for row in rows:
        if row in table.rules and row != rows.start:
            lines.append(r"\midrule")
        fields = [_text(table.shown(row, column)) for column in range(len(table.columns))]
        lines.append(_ampersands([rf"\textbf{{{text}}}" if (row, place) in table.bold else text
                                  for place, text in enumerate(fields)]))  # fmt: skip
    return lines


def _text(text: str) -> str:
    """Text with LaTeX's special characters escaped, on one line."""
    return "".join(SIGNS.get(character, character) for character in " ".join(text.split()))


def _ampersands(fields: Sequence[str]) -> str:
    """A row in LaTeX; braces keep a leading [ from being read as the argument of the preceding \\\\."""
    return " & ".join("{[}" + text[1:] if text.startswith("[") else text for text in fields) + r" \\"
