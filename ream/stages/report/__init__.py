"""Stage report: all scores as tables, figures and a page."""

from collections.abc import Sequence
from pathlib import Path

from ream.analysis.contents import figures_of, tables_of
from ream.analysis.figures.files import save
from ream.analysis.figures.held_out_loss import overview
from ream.analysis.html.captions import caption
from ream.analysis.html.drawings import Drawing, drawing
from ream.analysis.html.page import page
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.results import flat_csv, markdown
from ream.analysis.tables.table import Table
from ream.machine.files import building, replacing
from ream.params import Params
from ream.stages.report.contents import page_contents
from ream.stages.report.results import collect_results, fidelities
from ream.stages.report.search import search_drawings, search_tables, searches
from ream.workspace.cells import read_cells
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the page, the tables and the figures from the evaluations of the run's grid.

    Raises:
        UserError: an evaluation, a published table or an imported file is missing or damaged, or a mix draws on two
            sources of one kind.
    """
    out, cells = workspace.reports, read_cells(params, workspace)
    results = collect_results(params, workspace, cells)
    found = searches(params, workspace)
    tables, figures = [*tables_of(results), *search_tables(found)], figures_of(results)
    closeness = {key: found.mean for key, found in fidelities(params, workspace).items()}
    _write_text(out / "results.md", markdown(cells, "dvc repro", closeness))
    _write_text(out / "results.csv", flat_csv(cells, closeness))
    for suffix in ("png", "svg"):
        save(overview(cells), out / f"overview.{suffix}")
    _write_tables(tables, out / "tables")
    drawings = [drawing(shown.name, shown.figure, caption(shown.name), shown.data) for shown in figures]
    drawings += search_drawings(found)
    _write_drawings(drawings, out / "figures")
    _write_text(out / "index.html", page(page_contents(params, workspace, results, tables, drawings)))
    return f"{len(cells)} models, {len(tables)} tables, {len(figures)} figures: {out / 'index.html'}"


def _write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write every table as Markdown, CSV and LaTeX; other files in the folder are removed."""
    with building(folder) as made:
        for table in tables:
            for suffix, render in RENDERERS.items():
                (made / f"{table.name}.{suffix}").write_text(render(table), encoding="utf-8")


def _write_drawings(drawings: Sequence[Drawing], folder: Path) -> None:
    """Write every figure as SVG and PNG, and the numbers that it shows as CSV; other files are removed."""
    with building(folder) as made:
        for drawn in drawings:
            (made / f"{drawn.name}.svg").write_text(drawn.svg, encoding="utf-8")
            (made / f"{drawn.name}.png").write_bytes(drawn.png or b"")
            (made / f"{drawn.name}.csv").write_text(RENDERERS["csv"](drawn.data), encoding="utf-8")


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
