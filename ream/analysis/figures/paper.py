"""All tables and figures of the paper from rows of results: ours, published, or both beside each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.ablations import MEASURES, ablation_differences, differences
from ream.analysis.figures.trade_off import correlation_dots, pareto_fronts, trade_off
from ream.analysis.numbers.mixes import series_of, table_of_correlations, table_of_fronts
from ream.analysis.results.methods import is_variant
from ream.analysis.results.rows import ORIGINAL, PAPER, Row
from ream.analysis.tables.best_mixes import table_1, table_2, table_3, table_4, table_of_mixes
from ream.analysis.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE = "ream"


def tables_of_mixes(rows: Sequence[Row]) -> list[Table]:
    """Tables 1, 3, 5 and 6 of one model, and what figures 3 and 7 show as tables.

    Args:
        rows: of one model; its ablations are left to `tables_of_ablations`.

    Returns:
        table-1, table-3, and for each size, from large to small: table-5, table-6, then table-mixes-K; table-fronts-K
        and table-correlations-K where a mix has both means.
    """
    rows = without_ablations(rows)
    found = [table_1(rows), table_3(rows)]
    for place, experts in enumerate(sizes(rows)):
        found.append(table_of_mixes(rows, experts, _named(place, ("table-5", "table-6"), f"table-mixes-{experts}")))
        if series_of(rows, experts):
            found.append(table_of_fronts(rows, experts, f"table-fronts-{experts}"))
            found.append(table_of_correlations(rows, experts, f"table-correlations-{experts}"))
    return found


def tables_of_models(rows: Sequence[Row]) -> list[Table]:
    """Table 2, of several models."""
    return [table_2(without_ablations(rows))]


def tables_of_ablations(rows: Sequence[Row]) -> list[Table]:
    """Table 4: the variants of REAM, and at their mixes REAM itself and, for comparison, REAP; none without a variant.

    The paper's own rows are shown as it prints them, at whatever mix.
    """
    variants = {(row.origin, row.experts, row.mix_key) for row in rows if is_variant(row.method, WHOLE)}
    if not variants:
        return []
    shown = [
        row
        for row in rows
        if row.method == ORIGINAL
        or is_variant(row.method, WHOLE)
        or (row.method in ("reap", WHOLE)
            and (row.origin == PAPER or (row.origin, row.experts, row.mix_key) in variants))
    ]  # fmt: skip
    return [table_4(shown)]


def figures_of_mixes(rows: Sequence[Row], source: str = "code") -> "dict[str, Figure]":
    """Figures 2, 3a, 3b of one model at its largest size; 6, 7a, 7b at the second; at others their names end in K.

    Sizes without a mix that has both means have none.
    """
    rows = without_ablations(rows)
    draw: Mapping[str, Callable[[int], Figure]] = {
        "figure-2": lambda experts: trade_off(rows, experts, source),
        "figure-3a": lambda experts: correlation_dots(rows, experts),
        "figure-3b": lambda experts: pareto_fronts(rows, experts),
    }
    return {name: draw[kind](experts) for name, (kind, experts) in names_of_mixes(rows).items()}


def names_of_mixes(rows: Sequence[Row]) -> dict[str, tuple[str, int]]:
    """Names of `figures_of_mixes`: which of figures 2, 3a and 3b each is, and at which number of experts."""
    rows = without_ablations(rows)
    seconds = {"figure-2": "figure-6", "figure-3a": "figure-7a", "figure-3b": "figure-7b"}
    return {
        _named(place, (kind, second), f"{kind}-{experts}"): (kind, experts)
        for place, experts in enumerate(sizes(rows))
        if series_of(rows, experts)
        for kind, second in seconds.items()
    }


def figures_of_ablations(rows: Sequence[Row]) -> "dict[str, Figure]":
    """Figure 4a of one model, where a variant of REAM shares a mix and a mean with REAM."""
    known = any(differences(rows, measure, WHOLE) for measure in MEASURES)
    return {"figure-4a": ablation_differences(rows, WHOLE)} if known else {}


def sizes(rows: Sequence[Row]) -> list[int]:
    """Numbers of experts of the compressed models, from large to small."""
    return sorted({row.experts for row in rows if row.method != ORIGINAL}, reverse=True)


def without_ablations(rows: Sequence[Row]) -> list[Row]:
    """The rows of whole methods."""
    return [row for row in rows if not is_variant(row.method, WHOLE)]


def _named(place: int, names: Sequence[str], otherwise: str) -> str:
    return names[place] if place < len(names) else otherwise
