"""Tables of the numbers that figures show, for download; those of figures 1a, 3a and 5 are in `analysis.tables`."""

from collections.abc import Mapping, Sequence

from ream.analysis.figures.names import names_of_mixes
from ream.analysis.numbers.ablations import MEASURES, differences
from ream.analysis.numbers.mixes import fronts_of, series_of
from ream.analysis.numbers.overview import Sizes, code_measure, overview_points
from ream.analysis.results.methods import WHOLE, without_ablations
from ream.analysis.results.rows import ORIGINAL, Row
from ream.analysis.tables.fronts_and_correlations import table_of_correlations
from ream.analysis.tables.table import Column, Table, Value
from ream.evaluation.scores import Cell


def data_of_mixes(rows: Sequence[Row]) -> dict[str, Table]:
    """The numbers that `figures_of_mixes` draws, under the same names.

    Raises:
        ValueError: the rows are of several models.
    """
    rows = without_ablations(rows)
    makers = {"figure-2": table_of_points, "figure-3a": table_of_correlations, "figure-3b": table_of_points}
    return {name: makers[kind](rows, experts, name) for name, (kind, experts) in names_of_mixes(rows).items()}


def table_of_points(rows: Sequence[Row], experts: int, name: str) -> Table:
    """Figures 2 and 3b: MC and GEN of each mix, its sources' shares in percent, and whether it is on the front."""
    series = series_of(rows, experts)
    sources = list(dict.fromkeys(source for points in series.values() for source in points.shares))
    lines: list[tuple[Value, ...]] = [
        (ORIGINAL, row.origin, None, *(None for _ in sources), row.mc, row.gen, None)
        for row in rows
        if row.method == ORIGINAL and row.mc is not None and row.gen is not None
    ]
    for one, front in fronts_of(series).items():
        for place, row in enumerate(series[one].rows):
            shares = [100 * float(series[one].shares[source][place]) for source in sources]
            member = "yes" if front.members[place] else "no"
            lines.append((one.method, one.origin, row.mix, *shares, row.mc, row.gen, member))
    columns = (
        Column("method"), Column("results"), Column("mix"), *(Column(f"{source} %", 1) for source in sources),
        Column("MC", 1), Column("GEN", 1), Column("on the front"),
    )  # fmt: skip
    return Table(name, f"MC and GEN of the mixes at {experts} experts", columns, tuple(lines))


def table_of_differences(rows: Sequence[Row], name: str = "figure-4a", whole: str = WHOLE) -> Table:
    """Figure 4a: each variant minus the whole method at the same mix, in points, a row per measure, variant and mix."""
    lines = [
        (series.method, series.origin, mix, title, value)
        for measure, title in MEASURES.items()
        for series, of_series in differences(rows, measure, whole).items()
        for mix, value in of_series.items()
    ]
    columns = (
        Column("method"), Column("results"), Column("mix"), Column("measure"), Column("difference", 1, signed=True)
    )  # fmt: skip
    return Table(name, f"Differences of the variants from {whole}, in points", columns, tuple(lines))


def table_of_cells(cells: Sequence[Cell], name: str = "held-out-loss") -> Table:
    """The figure of held-out losses: each model's parameters, mean loss in nats per token, MC, GEN and AVG in percent.

    Measures that no cell has are left out.
    """
    measures: Mapping[str, tuple[str, int]] = {
        "mean_loss": ("mean loss", 3), "mc": ("MC", 1), "gen": ("GEN", 1), "avg": ("AVG", 1)
    }  # fmt: skip
    shown = [field for field in measures if any(getattr(cell, field) is not None for cell in cells)]
    lines = [
        (cell.mix, cell.method or ORIGINAL, cell.experts, cell.parameters, *(getattr(cell, field) for field in shown))
        for cell in cells
    ]
    columns = (
        Column("mix"), Column("method"), Column("experts"), Column("parameters"),
        *(Column(*measures[field]) for field in shown),
    )  # fmt: skip
    return Table(name, "All models", columns, tuple(lines))


def table_of_overview(rows: Sequence[Row], parameters: Sizes) -> Table:
    """The overview: parameters and scores, a row per point.

    Args:
        rows: see `overview_points`.
        parameters: see `overview_points`.
    """
    lines = [
        (point.row.model, point.row.method, point.row.experts, point.row.mix or None, point.row.origin,
         point.parameters / 1e6, point.code, point.mc)
        for point in overview_points(rows, parameters)
    ]  # fmt: skip
    columns = (
        Column("model"), Column("method"), Column("experts"), Column("mix"), Column("results"),
        Column("parameters (million)", 2), Column(code_measure(rows), 1), Column("MC", 1),
    )  # fmt: skip
    caption = "Scores and parameters, the mix of highest GEN of each method"
    rules = tuple(place for place in range(1, len(lines)) if lines[place][0] != lines[place - 1][0])
    return Table("table-overview", caption, columns, tuple(lines), rules=rules)
