"""Stage report: all scores as tables, figures and a page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ream.analysis.contents import Results, Shown, Silent, answer_figure, figures_of, tables_of
from ream.analysis.figures.files import save
from ream.analysis.figures.held_out_loss import overview
from ream.analysis.html.captions import caption
from ream.analysis.html.drawings import Drawing, drawing
from ream.analysis.html.page import Report, page
from ream.analysis.numbers.choice import choices
from ream.analysis.tables.cost import table_of_cost
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.results import flat_csv, markdown
from ream.analysis.tables.table import Table
from ream.machine.files import building, replacing
from ream.params import Params
from ream.stages.report.answer import answer_of
from ream.stages.report.contents import COSTS, page_contents
from ream.stages.report.results import collect_results, fidelities, measured_costs
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
    made, figures, found = choices(results.candidates), figures_of(results), searches(params, workspace)
    tables = [*tables_of(results), *search_tables(found)]
    first, shown = answer_figure(results, made), [figure for figure in figures if isinstance(figure, Shown)]
    closeness = {key: found.mean for key, found in fidelities(params, workspace).items()}
    _write_text(out / "results.md", markdown(cells, "dvc repro", closeness))
    _write_text(out / "results.csv", flat_csv(cells, closeness))
    for suffix in ("png", "svg"):
        save(overview(cells, results.methods), out / f"overview.{suffix}")
    _write_tables(tables, out / "tables")
    drawings = [drawing(one.name, one.figure, caption(one.name), one.data) for one in shown]
    drawings += search_drawings(found)
    answer = None
    if first is not None:
        answer = answer_of(
            params, workspace, results, made, drawing(first.name, first.figure, caption(first.name), first.data)
        )
    _write_drawings([*drawings, *([] if answer is None else [answer.drawing])], out / "figures")
    silent = tuple((figure.name, figure.reason) for figure in figures if isinstance(figure, Silent))
    contents = page_contents(params, workspace, results, tables, drawings)
    _write_text(out / "index.html", page(replace(contents, answer=answer, silent=silent)))
    _write_costs(params, workspace, results)
    return f"{len(cells)} models, {len(tables)} tables, {len(drawings)} figures: {out / 'index.html'}"


def _write_costs(params: Params, workspace: Workspace, results: Results) -> None:
    """Write what the stages took on this machine beside the page, as a page that DVC does not know.

    So the report stays the same wherever it is made. Where nothing was measured here, an earlier page is removed.
    """
    path, costs = workspace.reports / COSTS, measured_costs(params, workspace, results.cells)
    if all(cost.seconds is None for cost in costs):
        path.unlink(missing_ok=True)
        return
    _write_text(path, page(Report(f"What it took to compress {results.model}", tables=(table_of_cost(costs),))))


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
