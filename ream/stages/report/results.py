"""Everything that the report shows about the models of the run, read from the artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from ream.analysis.contents import NOTHING, Ranked, Results
from ream.analysis.numbers.choice import Candidate
from ream.analysis.numbers.group_sizes import group_sizes
from ream.analysis.numbers.paired import Paired, paired
from ream.analysis.results.evaluated import rows_of_cells
from ream.analysis.results.imported import imported_rows
from ream.analysis.results.methods import is_variant
from ream.analysis.results.mix_names import named
from ream.analysis.results.published import Published, load_parameters, load_published
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.cost import Cost
from ream.errors import UserError
from ream.evaluation.fidelity_records import Fidelity
from ream.evaluation.rank_records import read_ranks
from ream.evaluation.scores import Cell
from ream.params import Params
from ream.recipe.recipe_file import load_recipe
from ream.workspace.costs import cost_of
from ream.workspace.layout import Workspace

CellKey = tuple[str | None, str | None, int]  # mix, method, experts; the original has neither mix nor method


def collect_results(params: Params, workspace: Workspace, cells: Sequence[Cell]) -> Results:
    """Everything known about this model: scores, the paper's numbers, ranks, group sizes and costs.

    Raises:
        UserError: a mix draws on two sources of one kind, or a file is missing or damaged.
    """
    suite = params.suites[params.evaluation.suite]
    name = params.model.path.rstrip("/").rsplit("/", 1)[-1]
    try:
        rows = rows_of_cells(cells, name, params.mixes, suite.mc, suite.gen)
    except ValueError as error:
        raise UserError(f"report: {error}; a mix may draw on one source of each kind") from None
    keys, known = [(cell.mix, cell.method, cell.experts) for cell in cells], fidelities(params, workspace)
    rows = [
        replace(row, fidelity=known[key].mean if key in known else None) for key, row in zip(keys, rows, strict=True)
    ]
    rows_by_cell = dict(zip(keys, rows, strict=True))
    imported = imported_rows(params.imports, suite.mc, suite.gen, params.sources, suite.metric)
    folder, mixes = params.report.published, {mix: params.mixes[mix] for mix in params.run.mixes}
    of = NOTHING if folder is None else load_published(folder)
    pairs = _pairs(params, workspace, rows_by_cell)
    return Results(
        model=name,
        rows=[*rows, *named(imported, mixes)],
        published=Published(*(tuple(named(rows, mixes)) for rows in (of.mixes, of.large_models, of.ablations))),
        parameters={} if folder is None else load_parameters(Path(folder) / "parameters.csv"),
        ranked=_ranked(params, workspace, rows_by_cell),
        fidelities=[(rows_by_cell[key], found) for key, found in known.items() if key in rows_by_cell],
        pairs=[(rows_by_cell[key], found) for key, found in pairs.items()],
        group_sizes=_group_sizes(params, workspace),
        costs=measured_costs(params, workspace, cells) if params.report.costs else known_costs(cells),
        cells=cells,
        candidates=[
            Candidate(rows_by_cell[key], cell, pairs.get(key))
            for key, cell in zip(keys, cells, strict=True)
            if cell.method is not None and not is_variant(cell.method)
        ],
        methods=[*params.run.methods(), *(row.method for row in [*imported, *of.rows] if row.method != ORIGINAL)],
    )


def fidelities(params: Params, workspace: Workspace) -> dict[CellKey, Fidelity]:
    """How close the predictions of the models of the ranked mixes are to the original's."""
    return {
        (mix, cell.method, cell.experts): cell.fidelity
        for mix in params.run.rank
        for cell in read_ranks(workspace.rank(mix)).cells
        if cell.fidelity is not None
    }


def _ranked(params: Params, workspace: Workspace, rows: Mapping[CellKey, Row]) -> list[Ranked]:
    """The models of the ranked mixes whose scores are known, with the ranks of their hidden states."""
    return [
        Ranked(row, cell.ranks.numerical, cell.ranks.effective)
        for mix in params.run.rank
        for cell in read_ranks(workspace.rank(mix)).cells
        if (row := rows.get((mix, cell.method, cell.experts))) is not None
    ]


def _pairs(params: Params, workspace: Workspace, rows: Mapping[CellKey, Row]) -> dict[CellKey, Paired]:
    """Each model against the original on the same questions; none where the answers of earlier versions are missing."""
    if not workspace.original_answers.exists():
        return {}
    from ream.evaluation.answer_table import values_of  # pyarrow

    suite, original = params.suites[params.evaluation.suite], values_of(workspace.original_answers)
    return {
        (mix, method, experts): paired(
            original, values_of(workspace.answers(mix, method, experts)), suite.mc, suite.gen
        )
        for mix, method, experts in rows
        if mix is not None and method is not None and workspace.answers(mix, method, experts).exists()
    }


def _group_sizes(params: Params, workspace: Workspace) -> dict[int, dict[str, np.ndarray]]:
    """Group sizes by number of experts and method, on the first ranked mix; without the methods of ``run.extra``."""
    mix = params.run.rank[0]
    return {
        experts: {
            method: group_sizes(load_recipe(workspace.recipe(mix, method, experts)))
            for method in params.run.one_shot + params.run.sequential
        }
        for experts in params.run.experts
    }


def known_costs(cells: Sequence[Cell]) -> list[Cost]:
    """Parameters and bytes of the original and of every method at every size, which are the same on every machine."""
    first: dict[tuple[str | None, int], Cell] = {}
    for cell in cells:
        first.setdefault((cell.method, cell.experts), cell)
    return [Cost(method or ORIGINAL, experts, cell.parameters, cell.bytes) for (method, experts), cell in first.items()]


def measured_costs(params: Params, workspace: Workspace, cells: Sequence[Cell]) -> list[Cost]:
    """The same with the mean seconds and the highest peak over a method's mixes, as far as this machine has measured.

    They are None where nothing was measured.
    """
    costs = []
    for cost in known_costs(cells):
        mixes = [
            cell.mix for cell in cells if cell.method and (cell.method, cell.experts) == (cost.method, cost.experts)
        ]
        recorded = [cost_of(params, workspace, str(mix), cost.method, cost.experts) for mix in mixes]
        usages = [usage for usage in recorded if usage is not None]
        if usages:
            seconds, peak = fmean(usage.seconds for usage in usages), max(usage.host_bytes for usage in usages)
            cost = replace(cost, seconds=seconds, peak_bytes=peak)
        costs.append(cost)
    return costs
