"""What a report holds, made from results: all tables, and all figures with the numbers they show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ream.analysis.figures.data import data_of_mixes, table_of_cells, table_of_differences
from ream.analysis.figures.held_out_loss import overview
from ream.analysis.figures.overview import overview_of_models
from ream.analysis.figures.paper import (
    figures_of_ablations,
    figures_of_mixes,
    sizes,
    tables_of_ablations,
    tables_of_mixes,
    tables_of_models,
    without_ablations,
)
from ream.analysis.figures.ranks import RankPoint, rank_against_scores, table_of_ranks
from ream.analysis.numbers.group_sizes import size_curves, table_of_sizes
from ream.analysis.numbers.overview import Sizes, overview_points, table_of_overview
from ream.analysis.results.published import Published
from ream.analysis.results.rows import OURS, PAPER, Row, beside, same_model
from ream.analysis.tables.cost import Cost, table_of_cost
from ream.analysis.tables.table import Table
from ream.evaluation.scores import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NOTHING = Published((), (), ())


@dataclass(frozen=True)
class Ranked:
    """A model of ours with the mean ranks of its hidden states before the head."""

    row: Row
    numerical: float
    effective: float


@dataclass(frozen=True)
class Results:
    """All that was found out about one original.

    Attributes:
        model: its name.
        rows: ours and imported ones, those of other originals among them.
        parameters: of models that rows do not say it of, by model and number of experts.
        published: the paper's numbers, of whatever models.
        ranked: ranks of our models.
        group_sizes: number of experts kept to method to `group_sizes`.
        costs: of our models.
        cells: our models as they were evaluated, for the held-out loss.
    """

    model: str
    rows: Sequence[Row]
    published: Published = NOTHING
    parameters: Sizes = field(default_factory=dict)
    ranked: Sequence[Ranked] = ()
    group_sizes: Mapping[int, Mapping[str, np.ndarray]] = field(default_factory=dict)
    costs: Sequence[Cost] = ()
    cells: Sequence[Cell] = ()

    @property
    def rows_with_published(self) -> list[Row]:
        """Our rows, imported ones and the paper's over mixes of this model."""
        return beside(self.rows, _published(self)[0])


@dataclass(frozen=True)
class Shown:
    """A figure and the table of what it shows."""

    name: str
    figure: "Figure"
    data: Table


def tables_of(results: Results) -> list[Table]:
    """Tables 1 to 6 and those of fronts, correlations, ranks, group sizes and costs: what there are results for."""
    mixes, models, ablations = (beside(_of_model(results), rows) for rows in _published(results))
    found = tables_of_mixes(mixes)
    others = [row for row in results.rows if not same_model(row.model, results.model)]
    if others or any(row.origin == PAPER for row in models):
        found += tables_of_models([*models, *others])
    found += tables_of_ablations(ablations)
    if results.ranked:
        found.append(table_of_ranks([RankPoint(each.row, each.numerical) for each in results.ranked]))
    found += _of_sizes(results).values()
    if results.costs:
        found.append(table_of_cost(results.costs))
    return found


def figures_of(results: Results) -> list[Shown]:
    """Figures 1a to 7b and whatever there are results for, in the paper's order, then the overviews."""
    mixes, _, ablations = (beside(_of_model(results), rows) for rows in _published(results))
    found = [
        Shown(name, size_curves(results.group_sizes[experts]), table)
        for (name, experts), table in _of_sizes(results).items()
    ]
    data = data_of_mixes(mixes)
    found += [Shown(name, figure, data[name]) for name, figure in figures_of_mixes(mixes, _source(mixes)).items()]
    for name, figure in figures_of_ablations(ablations).items():
        found.append(Shown(name, figure, table_of_differences(ablations, name)))
    found += _of_ranks(results.ranked)
    found.sort(key=lambda shown: shown.name)
    everything = _overviewed(results)
    if overview_points(everything, results.parameters):
        table = table_of_overview(everything, results.parameters)
        found.append(Shown("overview", overview_of_models(everything, results.parameters), table))
    if any(cell.mean_loss is not None for cell in results.cells):
        found.append(Shown("held-out-loss", overview(results.cells), table_of_cells(results.cells, "held-out-loss")))
    return found


def _of_ranks(ranked: Sequence[Ranked]) -> Iterator[Shown]:
    """Figure 5 at each size, for both kinds of rank; of models that were scored."""
    ranked = [each for each in ranked if (each.row.mc, each.row.gen) != (None, None)]
    for place, experts in enumerate(sizes([each.row for each in ranked])):
        for kind, base in (("numerical", "figure-5"), ("effective", "figure-5-effective")):
            points = [RankPoint(each.row, getattr(each, kind)) for each in ranked if each.row.experts == experts]
            name = base if place == 0 else f"{base}-{experts}"
            yield Shown(name, rank_against_scores(points, f"{kind} rank"), table_of_ranks(points, f"{kind} rank"))


def _of_model(results: Results) -> list[Row]:
    """Our rows and imported ones of this original."""
    return [row for row in results.rows if same_model(row.model, results.model)]


def _overviewed(results: Results) -> list[Row]:
    """All rows, and all the paper's where it has this original."""
    known = results.published.rows if any(map(len, _published(results))) else ()
    names = {row.model: results.model for row in known if same_model(row.model, results.model)}
    paper = [replace(row, model=names.get(row.model, row.model)) for row in known]
    return without_ablations([*results.rows, *paper])


def _published(results: Results) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
    """The paper's rows of this model: over mixes, among models, of ablations."""
    kinds = (results.published.mixes, results.published.large_models, results.published.ablations)
    mixes, models, ablations = ([row for row in rows if same_model(row.model, results.model)] for rows in kinds)
    return mixes, models, ablations


def _of_sizes(results: Results) -> dict[tuple[str, int], Table]:
    found = {}
    for place, experts in enumerate(sorted(results.group_sizes, reverse=True)):
        name = "figure-1a" if place == 0 else f"figure-1a-{experts}"
        table = table_of_sizes(results.group_sizes[experts])
        found[name, experts] = Table(f"{table.name}-{experts}", f"{table.caption}; {experts} experts", table.columns,
                                     table.rows)  # fmt: skip
    return found


def _source(rows: Sequence[Row]) -> str:
    """The source whose share figure 2 shows: code, or the last one named."""
    sources = list(dict.fromkeys(source for row in rows if row.origin == OURS for source in row.ratios))
    return "code" if "code" in sources or not sources else sources[-1]
