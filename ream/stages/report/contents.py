"""What the page of the report shows beside its tables and figures: facts, verdicts, layers and recipes."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ream.analysis.contents import Results
from ream.analysis.html.drawings import Drawing
from ream.analysis.html.layers import LayerView, layer_view
from ream.analysis.html.page import Fact, Link, RecipeLink, Report
from ream.analysis.html.published_note import published_note
from ream.analysis.html.verdict import verdicts
from ream.analysis.tables.table import Table
from ream.evaluation.rank_records import read_ranks
from ream.evaluation.scores import read_scores
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.recipe.recipe_file import load_recipe
from ream.workspace.layout import Workspace

FILES = ("results.csv", "results.md")
COSTS = "costs.html"  # beside the page; differs from machine to machine, so DVC does not know it


def page_contents(
    params: Params, workspace: Workspace, results: Results, tables: Sequence[Table], drawings: Sequence[Drawing]
) -> Report:
    """The contents of the page."""
    mixes = {mix: params.mixes[mix] for mix in params.run.mixes}
    recipes = [
        RecipeLink(mix, method, experts, _relative(workspace.recipe(mix, method, experts), workspace.reports))
        for mix in params.run.mixes
        for method, experts in params.run.cells(mix)
    ]
    note = published_note(results.rows_with_published)
    return Report(
        title=f"{results.model} compressed with ream",
        methods=tuple(results.methods),
        facts=_facts(params, workspace),
        notes=() if note is None else (note,),
        verdicts=verdicts(results.rows_with_published, results.cells, mixes),
        drawings=tuple(drawings),
        tables=tuple(tables),
        layers=tuple(_layers(params, workspace)),
        error_name="relative error of the MoE block's output, on what enters it in the original",
        recipes=tuple(recipes),
        results=tuple(Link(name, name) for name in FILES),
        costs=None if params.report.costs else Link(COSTS, COSTS),
    )


def _facts(params: Params, workspace: Workspace) -> tuple[Fact, ...]:
    """The model, the sizes, methods, calibration and suite of the run, and the versions of the libraries."""
    manifest = load_manifest(workspace.manifest)
    versions = read_scores(workspace.original_evaluation).versions
    suite = params.suites[params.evaluation.suite]
    mixes = tuple(
        f"{mix}: " + ", ".join(f"{source} {ratio:g}" for source, ratio in params.mixes[mix].items() if ratio)
        for mix in params.run.mixes
    )
    calibration = f"{params.calibration.sequences} sequences of {params.calibration.tokens} tokens from each source"
    facts = {
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
    return (*(Fact(name, values) for name, values in facts.items()), command)


def _layers(params: Params, workspace: Workspace) -> Iterator[LayerView]:
    """The groups of experts in every model of the ranked mixes, with the errors of the layers."""
    for mix in params.run.rank:
        errors = {
            (cell.method, cell.experts): {layer.index: layer.block for layer in cell.layers if layer.block is not None}
            for cell in read_ranks(workspace.rank(mix)).cells
        }
        for method, experts in params.run.cells(mix):
            recipe = load_recipe(workspace.recipe(mix, method, experts))
            yield layer_view(recipe, mix, method, experts, errors=errors.get((method, experts)))


def _relative(path: Path, folder: Path) -> str:
    """The path of a file as a link from a folder."""
    return Path(os.path.relpath(path, folder)).as_posix()
