"""What a report holds, made from results: all tables, and all figures with the numbers they show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ream.analysis.figures.data import data_of_mixes, table_of_cells, table_of_differences, table_of_overview
from ream.analysis.figures.group_sizes import size_curves
from ream.analysis.figures.held_out_loss import overview
from ream.analysis.figures.names import names_of_mixes
from ream.analysis.figures.overview import overview_of_models
from ream.analysis.figures.paper import figures_of_ablations, figures_of_mixes
from ream.analysis.figures.quality import NAME as QUALITY
from ream.analysis.figures.quality import quality_against_size, table_of_quality
from ream.analysis.figures.ranks import rank_against_scores
from ream.analysis.figures.silent import silent_correlations, silent_fronts, silent_group_sizes, silent_ranks
from ream.analysis.numbers.choice import Candidate, Choice
from ream.analysis.numbers.mixes import series_of
from ream.analysis.numbers.overview import Sizes, overview_points
from ream.analysis.numbers.paired import Paired
from ream.analysis.numbers.ranks import RankPoint
from ream.analysis.results.methods import without_ablations
from ream.analysis.results.published import Published
from ream.analysis.results.rows import OURS, PAPER, Row, beside, same_model, sizes
from ream.analysis.tables.answers import table_of_answers
from ream.analysis.tables.cost import Cost, table_of_cost
from ream.analysis.tables.fidelity import table_of_fidelity
from ream.analysis.tables.group_sizes import table_of_sizes
from ream.analysis.tables.paired import table_of_pairs
from ream.analysis.tables.paper import tables_of_ablations, tables_of_mixes, tables_of_models
from ream.analysis.tables.ranks import table_of_ranks
from ream.analysis.tables.table import Table
from ream.evaluation.fidelity_records import Fidelity
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
    """All results on one original.

    Attributes:
        model: name of the original.
        rows: our rows and imported ones, also those of other originals.
        published: the paper's numbers, on any models.
        parameters: (model, experts) to number of parameters, for models whose rows do not give it.
        ranked: ranks of our models.
        fidelities: how close our models' predictions are to the original's.
        pairs: comparisons of our models with the original, question by question.
        group_sizes: number of experts kept to method to `group_sizes`.
        costs: costs of our models.
        cells: our models as they were evaluated, for the held-out loss.
        candidates: our whole methods' models, from which one is chosen at each size.
        methods: all methods of the report, in whose company each gets its colour and marker.
    """

    model: str
    rows: Sequence[Row]
    published: Published = NOTHING
    parameters: Sizes = field(default_factory=dict)
    ranked: Sequence[Ranked] = ()
    fidelities: Sequence[tuple[Row, Fidelity]] = ()
    pairs: Sequence[tuple[Row, Paired]] = ()
    group_sizes: Mapping[int, Mapping[str, np.ndarray]] = field(default_factory=dict)
    costs: Sequence[Cost] = ()
    cells: Sequence[Cell] = ()
    candidates: Sequence[Candidate] = ()
    methods: Sequence[str] = ()

    @property
    def rows_with_published(self) -> list[Row]:
        """Our rows, imported ones, and the paper's rows over mixes of this model."""
        return beside(self.rows, _published(self)[0])


@dataclass(frozen=True)
class Shown:
    """A figure and the table of the numbers it shows."""

    name: str
    figure: "Figure"
    data: Table


@dataclass(frozen=True)
class Silent:
    """A figure that is left out because it would say nothing, and why."""

    name: str
    reason: str


def tables_of(results: Results) -> list[Table]:
    """Tables 1 to 6, and those of everything else that there are results for: fronts, ranks, answers, costs …."""
    mixes, models, ablations = (beside(_of_model(results), rows) for rows in _published(results))
    tables = tables_of_mixes(mixes)
    others = [row for row in results.rows if not same_model(row.model, results.model)]
    if others or any(row.origin == PAPER for row in models):
        tables += tables_of_models([*models, *others])
    tables += tables_of_ablations(ablations)
    if results.ranked:
        tables.append(table_of_ranks([RankPoint(model.row, model.numerical) for model in results.ranked]))
    if results.fidelities:
        tables.append(table_of_fidelity(results.fidelities))
    if results.pairs:
        tables.append(table_of_pairs(results.pairs))
    if (of_answers := table_of_answers(results.cells)) is not None:
        tables.append(of_answers)
    tables += [table_of_sizes(results.group_sizes[experts], experts) for experts in _sizes_of_groups(results)]
    if results.costs:
        tables.append(table_of_cost(results.costs))
    return tables


def figures_of(results: Results) -> list[Shown | Silent]:
    """The overviews, then Figures 1a to 7b in the paper's order, where there are results for them."""
    mixes, _, ablations = (beside(_of_model(results), rows) for rows in _published(results))
    figures = [*_of_group_sizes(results), *_of_mixes(mixes, results.methods), *_of_ranks(results)]
    for name, figure in figures_of_ablations(ablations).items():
        figures.append(Shown(name, figure, table_of_differences(ablations, name)))
    figures.sort(key=lambda shown: shown.name)
    return [*_overviews(results), *figures]


def answer_figure(results: Results, made: Sequence[Choice]) -> Shown | None:
    """Quality against size; None where no model has a measure of quality, or the original was not evaluated."""
    original = next((cell for cell in results.cells if cell.method is None), None)
    if original is None or not made:
        return None
    figure = quality_against_size(results.candidates, made, original, results.methods)
    return Shown(QUALITY, figure, table_of_quality(results.candidates, made, original))


def _overviews(results: Results) -> Iterator[Shown]:
    """Scores and held-out losses of all models."""
    everything = _overviewed(results)
    if overview_points(everything, results.parameters):
        table = table_of_overview(everything, results.parameters)
        yield Shown("overview", overview_of_models(everything, results.parameters, results.methods), table)
    if any(cell.mean_loss is not None for cell in results.cells):
        table = table_of_cells(results.cells, "held-out-loss")
        yield Shown("held-out-loss", overview(results.cells, results.methods), table)


def _of_mixes(mixes: Sequence[Row], methods: Sequence[str]) -> Iterator[Shown | Silent]:
    """Figures 2, 3a and 3b, and the same at the second size."""
    data = data_of_mixes(mixes)
    silent = {}
    for name, (kind, experts) in names_of_mixes(mixes).items():
        series = series_of(without_ablations(mixes), experts)
        reasons = {"figure-3a": silent_correlations, "figure-3b": silent_fronts}
        silent[name] = reasons[kind](series) if kind in reasons else None
    drawn = figures_of_mixes(mixes, _source(mixes), methods, [name for name, reason in silent.items() if reason])
    for name, reason in silent.items():
        yield Silent(name, reason) if reason else Shown(name, drawn[name], data[name])


def _of_group_sizes(results: Results) -> Iterator[Shown | Silent]:
    """Figure 1a at each size."""
    for place, experts in enumerate(_sizes_of_groups(results)):
        by_method = results.group_sizes[experts]
        name = "figure-1a" if place == 0 else f"figure-1a-{experts}"
        reason = silent_group_sizes(by_method.values())
        if reason:
            yield Silent(name, reason)
        else:
            yield Shown(name, size_curves(by_method, results.methods), table_of_sizes(by_method, experts))


def _of_ranks(results: Results) -> Iterator[Shown | Silent]:
    """Figure 5 at each size, for both kinds of rank, of models that were scored."""
    scored = [model for model in results.ranked if (model.row.mc, model.row.gen) != (None, None)]
    for place, experts in enumerate(sizes([model.row for model in scored])):
        for kind, base in (("numerical", "figure-5"), ("effective", "figure-5-effective")):
            points = [RankPoint(model.row, getattr(model, kind)) for model in scored if model.row.experts == experts]
            name = base if place == 0 else f"{base}-{experts}"
            reason = silent_ranks(points, kind)
            if reason:
                yield Silent(name, reason)
            else:
                figure = rank_against_scores(points, f"{kind} rank", results.methods)
                yield Shown(name, figure, table_of_ranks(points, f"{kind} rank"))


def _of_model(results: Results) -> list[Row]:
    """Our rows and imported ones of this original."""
    return [row for row in results.rows if same_model(row.model, results.model)]


def _overviewed(results: Results) -> list[Row]:
    """All rows of whole methods, with all of the paper's if it has this original."""
    known = results.published.rows if any(map(len, _published(results))) else ()
    names = {row.model: results.model for row in known if same_model(row.model, results.model)}
    paper = [replace(row, model=names.get(row.model, row.model)) for row in known]
    return without_ablations([*results.rows, *paper])


def _published(results: Results) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
    """The paper's rows of this model: over mixes, among models, of ablations."""
    kinds = (results.published.mixes, results.published.large_models, results.published.ablations)
    mixes, models, ablations = ([row for row in rows if same_model(row.model, results.model)] for rows in kinds)
    return mixes, models, ablations


def _sizes_of_groups(results: Results) -> list[int]:
    """Numbers of experts with known group sizes, from large to small."""
    return sorted(results.group_sizes, reverse=True)


def _source(rows: Sequence[Row]) -> str:
    """The source whose share figure 2 shows: code where our mixes have it, or else the last one."""
    sources = list(dict.fromkeys(source for row in rows if row.origin == OURS for source in row.ratios))
    return "code" if "code" in sources or not sources else sources[-1]
