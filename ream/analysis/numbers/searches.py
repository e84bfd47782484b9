"""The numbers that the tables and figures of a search show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ream.analysis.numbers.dominated import dominated_volume
from ream.analysis.numbers.scheffe import Effect, effects, fitted
from ream.search.records import SearchRecord, TrialRow

BEYOND = 0.1  # of the known mixes' range, between the worst of them and the reference point


@dataclass(frozen=True)
class Searched:
    """A search: its record and its trials.

    Attributes:
        record: the front and what it measures.
        rows: the trials by number.
    """

    record: SearchRecord
    rows: Sequence[TrialRow]

    @property
    def name(self) -> str:
        """METHOD-K."""
        return f"{self.record.method}-{self.record.experts}"

    @property
    def unit(self) -> str:
        """What the objectives on text are."""
        return "loss (nats per token)" if self.record.measure == "loss" else "KL (nats per token)"

    @property
    def values(self) -> Float64[np.ndarray, "n m"]:
        """The objectives of each trial."""
        return np.array([[row.values[name] for name in self.record.objectives] for row in self.rows])

    @property
    def known(self) -> list[int]:
        """Places of the paper's mixes among the trials; of all that the sampler has not found where there are none."""
        paper = [place for place, row in enumerate(self.rows) if row.origin == "paper"]
        return paper if len(paper) > 1 else [place for place, row in enumerate(self.rows) if row.origin != "found"]


def volumes(searched: Searched) -> tuple[list[float], float]:
    """The hypervolume after each trial, on the search's text, and that of the known mixes.

    The reference point is a tenth of the known mixes' range beyond the worst of them on each objective. Trials that
    were stopped early add nothing: their values are estimates.
    """
    values, known = searched.values, searched.values[searched.known]
    point = known.max(axis=0) + np.maximum(BEYOND * np.ptp(known, axis=0), 1e-6)
    most = max(row.sequences for row in searched.rows)
    whole = np.array([row.sequences == most for row in searched.rows])
    after = [dominated_volume(-values[: n + 1][whole[: n + 1]], -point) for n in range(len(values))]
    return after, dominated_volume(-known, -point)


def sensitivities(searched: Searched) -> dict[str, tuple[dict[str, Effect], float | None]]:
    """For each objective the effect of every source, and the fraction of its variance that the surrogate explains."""
    sources = searched.record.sources
    ratios = np.array([[row.ratios[source] for source in sources] for row in searched.rows])
    found = {}
    for place, name in enumerate(searched.record.objectives):
        surrogate = fitted(ratios, searched.values[:, place])
        found[name] = effects(surrogate, sources), surrogate.explained
    return found
