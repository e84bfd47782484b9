"""A table: columns, values, and what is pointed out among them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | None
UNKNOWN = "–"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its heading.
        digits: decimals that Markdown and LaTeX show of its numbers; None for text and whole numbers.
        signed: whether numbers are differences and get a sign.
    """

    name: str
    digits: int | None = None
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """A table of values; None is a value that is not known.

    Attributes:
        name: name of its files, without suffix; the label in LaTeX.
        caption: plain text.
        columns: the columns, from left to right.
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
        """Check that the rows fit the columns.

        Raises:
            ValueError: a row has more or fewer values than there are columns.
        """
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} values for {len(self.columns)} columns")

    def shown(self, row: int, column: int) -> str:
        """A value as people read it, not yet escaped; "–" where it is not known."""
        value, kind = self.rows[row][column], self.columns[column]
        if value is None:
            return UNKNOWN
        if isinstance(value, str) or kind.digits is None:
            return str(value)
        text = f"{value:{'+' if kind.signed else ''},.{kind.digits}f}"
        text = text.replace("-", "−") if kind.signed else text
        if (row, column) not in self.intervals:
            return text
        low, high = self.intervals[row, column]
        # the longer side: where an interval is cut off at the end of the scale, the shorter one would look too certain
        return f"{text} ± {max(high - value, value - low):.{kind.digits}f}"

    def is_number(self, column: int) -> bool:
        """Whether all known values of a column are numbers (and there is at least one)."""
        known = [row[column] for row in self.rows if row[column] is not None]
        return bool(known) and not any(isinstance(value, str) for value in known)
