"""Stage report: all scores as tables, figures, metrics and a page."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from ream.analysis.contents import NOTHING, Ranked, Results, figures_of, tables_of
from ream.analysis.figures.files import save
from ream.analysis.figures.held_out_loss import overview
from ream.analysis.html.captions import caption
from ream.analysis.html.drawings import Drawing, drawing
from ream.analysis.html.layers import LayerView, layer_view
from ream.analysis.html.page import Fact, Link, RecipeLink, Report, page
from ream.analysis.html.published_note import published_note
from ream.analysis.html.verdict import verdicts
from ream.analysis.numbers.group_sizes import group_sizes
from ream.analysis.results.evaluated import rows_of_cells
from ream.analysis.results.imported import imported_rows
from ream.analysis.results.published import load_parameters, load_published
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.cost import Cost
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.results import flat_csv, markdown, metrics, ordered
from ream.analysis.tables.table import Table
from ream.errors import UserError
from ream.evaluation.scores import Cell, read_scores
from ream.machine.files import building, replacing, write_json
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.recipe.recipe_file import load_recipe
from ream.stages.rank import read_ranked
from ream.workspace.costs import cost_of
from ream.workspace.layout import Workspace

CellKey = tuple[str | None, str | None, int]  # mix, method, experts; of the original neither of the former


def run(params: Params, workspace: Workspace, out: Path) -> str:
    """Write the page, the tables, the figures and the numbers for dvc from the evaluations of the run's grid.

    Raises:
        UserError: an evaluation, a published table or an imported file is missing or damaged, or two sources of a mix
            are of one kind.
    """
    cells = cells_of(params, workspace)
    results = results_of(params, workspace, cells)
    tables, figures = tables_of(results), figures_of(results)
    _write(out / "results.md", markdown(cells, "dvc repro"))
    _write(out / "results.csv", flat_csv(cells))
    write_json(out / "metrics.json", metrics(cells))
    for suffix in ("png", "svg"):
        save(overview(cells), out / f"overview.{suffix}")
    write_tables(tables, out / "tables")
    drawings = [drawing(shown.name, shown.figure, caption(shown.name), shown.data) for shown in figures]
    write_drawings(drawings, out / "figures")
    _write(out / "index.html", page(report_of(params, workspace, results, tables, drawings, out)))
    return f"{len(cells)} models, {len(tables)} tables, {len(figures)} figures: {out / 'index.html'}"


def cells_of(params: Params, workspace: Workspace) -> list[Cell]:
    """The original and all models of the grid, in the order of the params file."""
    paths = [workspace.original_evaluation, *(workspace.evaluation(mix) for mix in params.run.mixes)]
    cells = [cell for path in paths for cell in read_scores(path).cells]
    return ordered(cells, params.run.mixes, params.run.methods(), params.run.experts)


def results_of(params: Params, workspace: Workspace, cells: Sequence[Cell]) -> Results:
    """Everything there is about this model: scores, the paper's numbers, ranks, group sizes and costs."""
    suite = params.suites[params.evaluation.suite]
    name = params.model.path.rstrip("/").rsplit("/", 1)[-1]
    try:
        rows = rows_of_cells(cells, name, params.mixes, suite.mc, suite.gen)
    except ValueError as error:
        raise UserError(f"report: {error}; a mix may draw on one source of each kind") from None
    named = {(cell.mix, cell.method, cell.experts): row for cell, row in zip(cells, rows, strict=True)}
    imported = imported_rows(params.imports, suite.mc, suite.gen, params.sources, suite.metric)
    folder = params.report.published
    return Results(
        model=name,
        rows=[*rows, *imported],
        published=NOTHING if folder is None else load_published(folder),
        parameters={} if folder is None else load_parameters(Path(folder) / "parameters.csv"),
        ranked=ranked(params, workspace, named),
        group_sizes=sizes_of(params, workspace),
        costs=costs_of(params, workspace, cells),
        cells=cells,
    )


def ranked(params: Params, workspace: Workspace, rows: Mapping[CellKey, Row]) -> list[Ranked]:
    """The models of the ranked mixes whose scores are known, with the ranks of their hidden states."""
    found = []
    for mix in params.run.rank:
        for cell in read_ranked(workspace.rank(mix)).cells:
            row = rows.get((mix, cell.method, cell.experts))
            if row is not None:
                found.append(Ranked(row, cell.ranks.numerical, cell.ranks.effective))
    return found


def sizes_of(params: Params, workspace: Workspace) -> dict[int, dict[str, np.ndarray]]:
    """Number of experts to method to its group sizes, of the first ranked mix; methods run on some mixes only aside."""
    mix = params.run.rank[0]
    return {
        experts: {
            method: group_sizes(load_recipe(workspace.recipe(mix, method, experts)))
            for method in params.run.one_shot + params.run.sequential
        }
        for experts in params.run.experts
    }


def costs_of(params: Params, workspace: Workspace, cells: Sequence[Cell]) -> list[Cost]:
    """What every method costs: means over its mixes of what was measured, and the highest peak."""
    found = [Cost(ORIGINAL, cell.experts, cell.parameters, cell.bytes) for cell in cells if cell.method is None]
    for method in params.run.methods():
        for experts in params.run.experts:
            own = [cell for cell in cells if (cell.method, cell.experts) == (method, experts)]
            taken = [cost_of(params, workspace, str(cell.mix), method, experts) for cell in own if params.report.costs]
            known = [each for each in taken if each is not None]
            found.append(
                Cost(
                    method,
                    experts,
                    own[0].parameters,
                    own[0].bytes,
                    fmean(each.seconds for each in known) if known else None,
                    max(each.host_bytes for each in known) if known else None,
                )
            )
    return found


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Each table as Markdown, CSV and LaTeX; what a report of other results left there goes."""
    with building(folder) as made:
        for table in tables:
            for suffix, render in RENDERERS.items():
                (made / f"{table.name}.{suffix}").write_text(render(table), encoding="utf-8")


def write_drawings(drawings: Sequence[Drawing], folder: Path) -> None:
    """Each figure as SVG and PNG, with the numbers it shows as CSV."""
    with building(folder) as made:
        for drawn in drawings:
            (made / f"{drawn.name}.svg").write_text(drawn.svg, encoding="utf-8")
            (made / f"{drawn.name}.png").write_bytes(drawn.png or b"")
            (made / f"{drawn.name}.csv").write_text(RENDERERS["csv"](drawn.data), encoding="utf-8")


def report_of(
    params: Params,
    workspace: Workspace,
    results: Results,
    tables: Sequence[Table],
    drawings: Sequence[Drawing],
    out: Path,
) -> Report:
    """What the page shows."""
    mixes = {mix: params.mixes[mix] for mix in params.run.mixes}
    recipes = [
        RecipeLink(mix, method, experts, _beside(workspace.recipe(mix, method, experts), out))
        for mix in params.run.mixes
        for method, experts in params.run.cells(mix)
    ]
    files = ("results.csv", "results.md", "metrics.json")
    note = published_note(results.rows_with_published)
    return Report(
        title=f"{results.model}: smaller by ream",
        facts=facts_of(params, workspace),
        notes=() if note is None else (note,),
        verdicts=verdicts(results.rows_with_published, results.cells, mixes),
        drawings=tuple(drawings),
        tables=tuple(tables),
        layers=tuple(layers_of(params, workspace)),
        error_name="relative error of the MoE block's output, on what enters it in the original",
        recipes=tuple(recipes),
        results=tuple(Link(name, name) for name in files),
    )


def facts_of(params: Params, workspace: Workspace) -> tuple[Fact, ...]:
    """What was run."""
    manifest = load_manifest(workspace.manifest)
    versions = read_scores(workspace.original_evaluation).versions
    suite = params.suites[params.evaluation.suite]
    mixes = tuple(
        f"{mix}: " + ", ".join(f"{source} {ratio:g}" for source, ratio in params.mixes[mix].items() if ratio)
        for mix in params.run.mixes
    )
    calibration = f"{params.calibration.sequences} sequences of {params.calibration.tokens} tokens of each source"
    listed = {
        "model": (manifest.path, *([f"revision {manifest.revision}"] if manifest.revision else [])),
        "what it is": (
            f"{manifest.family}, {manifest.parameters:,} parameters",
            f"{len(manifest.moe_layers)} of {manifest.layers} layers with {manifest.experts} experts, "
            f"{manifest.top_k} active",
        ),
        "experts kept": tuple(str(experts) for experts in params.run.experts),
        "methods": tuple(params.run.methods()),
        "calibration": (calibration, *mixes),
        "suite": (
            params.evaluation.suite,
            *(f"{kind}: {', '.join(tasks)}" for kind, tasks in (("MC", suite.mc), ("GEN", suite.gen)) if tasks),
            *([f"held-out loss: {', '.join(suite.loss)}"] if suite.loss else []),
        ),
        "versions": tuple(f"{name} {number}" for name, number in versions.items()),
    }
    command = Fact("command", ("dvc repro",), code=True)
    return (*(Fact(name, values) for name, values in listed.items()), command)


def layers_of(params: Params, workspace: Workspace) -> Iterator[LayerView]:
    """What became of the experts in the models of the ranked mixes, with the errors of their layers."""
    for mix in params.run.rank:
        known = read_ranked(workspace.rank(mix)).cells
        errors = {
            (cell.method, cell.experts): {layer.index: layer.block for layer in cell.layers if layer.block is not None}
            for cell in known
        }
        for method, experts in params.run.cells(mix):
            recipe = load_recipe(workspace.recipe(mix, method, experts))
            yield layer_view(recipe, mix, method, experts, errors=errors.get((method, experts)))


def _beside(path: Path, folder: Path) -> str:
    """A file's path as seen from a folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
