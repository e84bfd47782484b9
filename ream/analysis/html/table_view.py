"""A table in the form that the page's template reads."""

from dataclasses import dataclass

from ream.analysis.html.captions import title
from ream.analysis.html.downloads import data_address, identifier
from ream.analysis.results.rows import ORIGINAL, OURS
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.table import Table

# Tables with more columns than this show the means before the tasks, where they are seen without scrolling.
MANY = 12
DESCRIPTION, MEANS = ("model", "experts", "method", "mix", "results"), ("MC", "GEN", "AVG", "ΔGEN")
NAMES = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}


@dataclass(frozen=True)
class CellView:
    """A cell.

    Attributes:
        text: the value as people read it.
        value: the number that it is sorted by, "" where it is not known; None where it is sorted by its text.
        bold: whether it is pointed out.
        tag: whether it names the origin of results that are not ours.
        look: its CSS classes.
    """

    text: str
    value: str | None
    bold: bool
    tag: bool
    look: str


@dataclass(frozen=True)
class ColumnView:
    """A column's name and the CSS classes of its cells: number, name (stays in sight when the table scrolls)."""

    name: str
    look: str


@dataclass(frozen=True)
class RowView:
    """A row, and its CSS classes: original (stays on top however a table is sorted), published (not ours), rule."""

    cells: tuple[CellView, ...]
    look: str


@dataclass(frozen=True)
class TableView:
    """A table; its headline is the first part of its caption, downloads are (name, file name, address)."""

    id: str
    title: str
    headline: str
    caption: str
    columns: tuple[ColumnView, ...]
    rows: tuple[RowView, ...]
    downloads: tuple[tuple[str, str, str], ...]


def table_view(table: Table) -> TableView:
    """A table's cells, the values they are sorted by, and its files."""
    names = [column.name for column in table.columns]
    method, results = (names.index(name) if name in names else None for name in ("method", "results"))
    numbers = [table.is_number(place) for place in range(len(names))]
    looks = ["number" if number else "name" if place == method else "" for place, number in enumerate(numbers)]
    order = _order(names)
    rows = []
    for place, values in enumerate(table.rows):
        cells = tuple(
            CellView(
                text=table.shown(place, column),
                value="" if value is None else repr(value) if numbers[column] else None,
                bold=(place, column) in table.bold,
                tag=column == results and value not in (OURS, None),
                look=looks[column],
            )
            for column, value in ((column, values[column]) for column in order)
        )
        original = method is not None and values[method] == ORIGINAL
        published = results is not None and values[results] not in (OURS, None)
        look = {"original": original, "published": published, "rule": place > 0 and place in table.rules}
        rows.append(RowView(cells, " ".join(name for name, holds in look.items() if holds)))
    return TableView(
        id=identifier(table.name),
        title=title(table.name),
        headline=table.caption.partition(";")[0],
        caption=table.caption,
        columns=tuple(ColumnView(names[column], looks[column]) for column in order),
        rows=tuple(rows),
        downloads=downloads(table),
    )


def _order(names: list[str]) -> list[int]:
    """Places of the columns in the order of the page; files keep the order of the table."""
    places = list(range(len(names)))
    if len(names) <= MANY:
        return places
    return sorted(places, key=lambda place: (names[place] not in DESCRIPTION, names[place] not in MEANS, place))


def downloads(table: Table) -> tuple[tuple[str, str, str], ...]:
    """(name of the format, file name, address) of each format."""
    return tuple(
        (NAMES[suffix], f"{identifier(table.name)}.{suffix}", data_address(suffix, RENDERERS[suffix](table)))
        for suffix in NAMES
    )
