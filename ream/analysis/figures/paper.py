"""The figures of the paper that rows of results give: ours, published, or both side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ream.analysis.figures.ablations import ablation_differences
from ream.analysis.figures.correlations import correlation_dots
from ream.analysis.figures.fronts import pareto_fronts
from ream.analysis.figures.names import names_of_mixes
from ream.analysis.figures.trade_off import trade_off
from ream.analysis.numbers.ablations import MEASURES, differences
from ream.analysis.results.methods import without_ablations
from ream.analysis.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures_of_mixes(
    rows: Sequence[Row], source: str = "code", among: Iterable[str] = (), without: Sequence[str] = ()
) -> "dict[str, Figure]":
    """Figures 2, 3a, 3b of one model at its largest size; 6, 7a, 7b at the second; the names are `names_of_mixes`.

    Args:
        rows: rows of one model.
        source: the source whose share figure 2 shows.
        among: all methods of the report (`styles`).
        without: names that are not drawn.
    """
    rows, among = without_ablations(rows), tuple(among)
    draw: Mapping[str, Callable[[int], Figure]] = {
        "figure-2": lambda experts: trade_off(rows, experts, source, among),
        "figure-3a": lambda experts: correlation_dots(rows, experts, among),
        "figure-3b": lambda experts: pareto_fronts(rows, experts, among),
    }
    return {name: draw[kind](experts) for name, (kind, experts) in names_of_mixes(rows).items() if name not in without}


def figures_of_ablations(rows: Sequence[Row]) -> "dict[str, Figure]":
    """Figure 4a of one model; empty unless a variant of REAM shares a mix and a mean with REAM."""
    known = any(differences(rows, measure) for measure in MEASURES)
    return {"figure-4a": ablation_differences(rows)} if known else {}
