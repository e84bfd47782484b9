"""Stage search: mixes of the sources on the front of several objectives, found from the statistics of the sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.search.records import SearchRecord, TrialRow
    from ream.search.session import Asked


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Try mixes and write the trials, the front, and the recipes of its mixes; a killed search goes on where it stood.

    With ``options.worker`` this process takes trials of a search that another process has begun, and writes no result.

    Raises:
        UserError: a source calibrates with all of its text or has too little of it, or another process runs the search.
    """
    from ream.machine.scratch import scratch
    from ream.search.helpers import shared_threads
    from ream.search.session import Asked

    check(params)
    params = shared_threads(params)
    state = workspace.state("search", options.method, str(options.experts))
    with scratch(workspace.scratch) as folder:
        asked = Asked(options.method, options.experts, options.code, state, folder)
        if options.worker is not None:
            return _help(params, workspace, asked)
        return _lead(params, workspace, asked, options)


def check(params: Params) -> None:
    """Refuse what cannot be searched, before anything is collected.

    Raises:
        UserError: a source calibrates with all of its text.
    """
    from ream.search.texts import check_texts

    check_texts(params)


def _help(params: Params, workspace: Workspace, asked: "Asked") -> str:
    """Take trials of a search until there is none left."""
    from ream.errors import UserError
    from ream.search.session import FACTS, Session
    from ream.search.workers import work

    if not (asked.state / FACTS).exists():
        raise UserError(f"{asked.state} has no search to help with; start it without --worker first")
    session = Session(params, workspace, asked)
    session.check_same()
    count = work(session.trials, session.measuring, lambda: None, f"search {asked.method}, helper", wait=False)
    return f"search {asked.method} {asked.experts}: {count} trials measured for the search that runs"


def _lead(params: Params, workspace: Workspace, asked: "Asked", options: StageOptions) -> str:
    """Begin or go on, wait for all trials, and write the results."""
    from ream.machine.files import locked
    from ream.search.helpers import helping
    from ream.search.run import search
    from ream.search.session import Session, begin, clear

    with locked(asked.state):
        begin(asked.state, Session.facts(params, workspace, asked), options.discard_stale)
        out = workspace.search(asked.method, asked.experts)
        with helping(params, workspace, asked.method, asked.experts, asked.code, asked.state):
            session = Session(params, workspace, asked)  # while helpers start
            record = search(session, out, workspace.windows, lambda _: None, _draw)
        if not options.keep_state:
            clear(asked.state)
    return line_of(record)


def _draw(record: "SearchRecord", rows: "Sequence[TrialRow]", folder: Path) -> None:
    """Write the figures of a search as SVG and PNG."""
    from ream.analysis.figures.files import save
    from ream.analysis.figures.searches import figures_of_search
    from ream.analysis.numbers.searches import Searched

    for shown in figures_of_search(Searched(record, rows)):
        for suffix in ("svg", "png"):
            save(shown.figure, folder / "figures" / f"{shown.name}.{suffix}")


def line_of(record: "SearchRecord") -> str:
    """One line about a finished search."""
    line = f"search {record.method} {record.experts}: {record.trials} mixes, {len(record.front)} on the front"
    if record.volumes is None:
        return line
    ratio = record.volumes.ratio
    spread = "" if ratio.low is None else f" (95% interval {ratio.low:.3f} to {ratio.high:.3f})"
    return f"{line}; on text that it has not seen, {ratio.value:.3f} times the hypervolume of the known mixes{spread}"
