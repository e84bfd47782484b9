"""What the report shows of the run's searches of mixes, where there are any."""

from collections.abc import Iterator

from ream.analysis.figures.searches import figures_of_search
from ream.analysis.html.drawings import Drawing, drawing
from ream.analysis.numbers.searches import Searched
from ream.analysis.tables.searches import table_of_front
from ream.analysis.tables.table import Table
from ream.params import Params
from ream.search.records import FOUND, TRIALS, read_record, read_trials
from ream.workspace.layout import Workspace


def searches(params: Params, workspace: Workspace) -> list[Searched]:
    """The searches of the run, in the order of the params file."""
    folders = [workspace.search(method, experts) for method in params.run.search for experts in params.run.experts]
    return [Searched(read_record(folder / FOUND), read_trials(folder / TRIALS)) for folder in folders]


def search_tables(found: list[Searched]) -> Iterator[Table]:
    """The front of each search."""
    return (table_of_front(searched) for searched in found)


def search_drawings(found: list[Searched]) -> Iterator[Drawing]:
    """The figures of each search."""
    for searched in found:
        for shown in figures_of_search(searched):
            yield drawing(shown.name, shown.figure, shown.caption, shown.data)
