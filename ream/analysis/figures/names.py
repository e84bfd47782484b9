"""Names of the figures of mixes: 2, 3a, 3b at the largest size, 6, 7a, 7b at the second."""

from collections.abc import Sequence

from ream.analysis.numbers.mixes import series_of
from ream.analysis.results.methods import without_ablations
from ream.analysis.results.rows import Row, sizes

SECOND = {"figure-2": "figure-6", "figure-3a": "figure-7a", "figure-3b": "figure-7b"}


def names_of_mixes(rows: Sequence[Row]) -> dict[str, tuple[str, int]]:
    """Name of each figure of one model's mixes to (which of figures 2, 3a and 3b it is, number of experts).

    Names at the third size and below end in the number of experts; sizes without a mix that has both means have no
    figures.
    """
    rows = without_ablations(rows)
    return {
        (kind, second)[place] if place < 2 else f"{kind}-{experts}": (kind, experts)
        for place, experts in enumerate(sizes(rows))
        if series_of(rows, experts)
        for kind, second in SECOND.items()
    }
