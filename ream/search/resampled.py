"""Intervals of what mixes measure: a bootstrap over the sequences of each source, the same for all mixes.

The tokens of a sequence are not independent, so sequences are drawn. All mixes are measured on the same sequences, so a
difference between two of them is much better known than either. The intervals show the noise of a finite amount of
text, not what other text would do.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from ream.analysis.numbers.dominated import dominated_volumes
from ream.search.losses import TOKENS
from ream.search.measuring import Objectives, Sums
from ream.search.records import Estimate, Volumes

RESAMPLES = 1000
CONFIDENCE = 0.95
MARGIN = 0.1  # of the known mixes' range, between the worst of them and the reference point


class Resampled:
    """The objectives of several mixes on the text as it is, and on resampled text."""

    def __init__(self, objectives: Objectives, sums: Mapping[int, Sums], seed: int = 0) -> None:
        """Args:
        objectives: what is measured.
        sums: of each mix, on the same sequences, by the number of its trial.
        seed: of the bootstrap.
        """
        self.names = list(objectives.names)
        shape = next(iter(sums.values())).shape
        rng = np.random.default_rng(seed)
        drawn = [rng.multinomial(shape[1], np.full(shape[1], 1 / shape[1]), size=RESAMPLES) for _ in range(shape[0])]
        places = [objectives.sources.index(name) for name in objectives.names]
        self._several = shape[1] > 1
        self.values = {number: _means(own, objectives.column, places, drawn) for number, own in sums.items()}

    def of(self, number: int) -> dict[str, Estimate]:
        """The objectives of a mix, by name."""
        return {name: self.estimate(self.values[number][:, place]) for place, name in enumerate(self.names)}

    def weighted(self, number: int, weights: Mapping[str, float]) -> Float64[np.ndarray, " samples"]:
        """A weighted objective of a mix: on the text as it is first."""
        total: np.ndarray = self.values[number] @ np.array([weights.get(name, 0.0) for name in self.names])
        return total

    def volumes(self, front: Sequence[int], known: Sequence[int]) -> Volumes:
        """The hypervolumes of two sets of mixes; the reference point follows from the second, on each sample anew."""
        samples = RESAMPLES + 1 if self._several else 1
        of_front, of_known = (
            np.stack([self.values[number][:samples] for number in own], axis=1) for own in (front, known)
        )
        references = np.array([reference_of(values) for values in of_known])
        found = np.stack([dominated_volumes(-values, -references) for values in (of_front, of_known)], axis=1)
        return Volumes(
            front=self.estimate(found[:, 0]),
            known=self.estimate(found[:, 1]),
            ratio=self.estimate(found[:, 0] / found[:, 1]),
            reference=dict(zip(self.names, references[0].tolist(), strict=True)),
        )

    def estimate(self, values: Float64[np.ndarray, " samples"]) -> Estimate:
        """The first value, with the interval of the others."""
        if not self._several:
            return Estimate(value=float(values[0]))
        low, high = np.quantile(values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Estimate(value=float(values[0]), low=float(low), high=float(high))


def reference_of(known: Float64[np.ndarray, "n m"]) -> Float64[np.ndarray, " m"]:
    """The reference point of values that are minimised: a tenth of their range beyond the worst of each objective."""
    worst, best = known.max(axis=0), known.min(axis=0)
    point: np.ndarray = worst + np.maximum(MARGIN * (worst - best), 1e-6)
    return point


def _means(
    sums: Sums, column: int, places: Sequence[int], drawn: Sequence[Int64[np.ndarray, "samples n"]]
) -> Float64[np.ndarray, "samples m"]:
    """Means over tokens of each objective: of all sequences, then of those drawn with replacement.

    Where sequences without a predicted token alone were drawn, the mean of all stands in.
    """
    columns = []
    for place in places:
        totals = np.concatenate([sums[place].sum(axis=0)[None], drawn[place] @ sums[place][:, [0, 1, 2]]])
        totals[totals[:, TOKENS] == 0] = totals[0]
        columns.append(totals[:, column] / totals[:, TOKENS])
    return np.stack(columns, axis=1)
