"""Measuring the trials of a batch side by side, on more and more sequences, of which half of them see the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from safetensors.numpy import load_file, save_file

from ream.machine.files import replacing
from ream.search.halving import going_on, rung_sizes, to_all_sequences
from ream.search.losses import TOKENS, Ruler
from ream.search.mix_recipes import MixRecipes
from ream.search.side_by_side import Layers, Note
from ream.search.suggestions import FOUND
from ream.search.texts import Part
from ream.search.trials import Trial

Sums = Float64[np.ndarray, "S n 3"]  # of a trial: sources, sequences of each, columns of `ream.search.losses`


@dataclass(frozen=True)
class Objectives:
    """What is minimised: a mean over the predicted tokens of some of the sources.

    Attributes:
        sources: all sources, in the order of the sums.
        names: those that are objectives.
        column: of the sums.
    """

    sources: Sequence[str]
    names: Sequence[str]
    column: int

    def values(self, sums: Sums, sequences: int | None = None) -> Float64[np.ndarray, " m"]:
        """The objectives on the first sequences of each source, all of them by default."""
        own = sums[[self.sources.index(name) for name in self.names], :sequences]
        means: np.ndarray = own[..., self.column].sum(axis=1) / own[..., TOKENS].sum(axis=1)
        return means


class Measuring:
    """Measures batches on the search's part of the text, and keeps the sums of every sequence in a folder."""

    def __init__(
        self, folder: Path, objectives: Objectives, recipes: MixRecipes, ruler: Ruler, part: Part, rungs: int
    ) -> None:
        """Args:
        folder: of the search's state, which processes share.
        objectives: what is minimised.
        recipes: makes the models of mixes.
        ruler: measures them.
        part: of the text.
        rungs: number of rounds.
        """
        self.folder, self.objectives, self._recipes, self._ruler, self._part = folder, objectives, recipes, ruler, part
        self.sequences = len(next(iter(part.sequences.values())))
        self._sizes = rung_sizes(self.sequences, rungs)

    def sums(self, before: int | None = None) -> dict[int, Sums]:
        """The sums of all measured trials of batches that begin before a number, by the trials' numbers."""
        found: dict[int, Sums] = {}
        for path in self.folder.glob("batch-*.safetensors"):
            if before is None or int(path.stem.partition("-")[2]) < before:
                found |= {int(number): sums for number, sums in load_file(path).items()}
        return dict(sorted(found.items()))

    def batch(self, batch: Sequence[Trial], note: Note) -> dict[int, list[float]]:
        """The values of a batch's trials on all sequences, by number; of those that were stopped, as estimated.

        Known mixes are never stopped, for all others are compared with them.
        """
        path = self.folder / f"batch-{batch[0].number}.safetensors"
        earlier = self.sums(before=batch[0].number)
        if not path.exists():
            measured = self._measured(batch, earlier, note)
            with replacing(path) as temporary:
                save_file({str(number): sums for number, sums in measured.items()}, temporary)
        own = {int(number): sums for number, sums in load_file(path).items()}
        whole = [sums for sums in (*earlier.values(), *own.values()) if sums.shape[1] == self.sequences]
        return {trial.number: self._value(own[trial.number], whole).tolist() for trial in batch}

    def _value(self, sums: Sums, whole: Sequence[Sums]) -> Float64[np.ndarray, " m"]:
        count = sums.shape[1]
        if count == self.sequences:
            return self.objectives.values(sums)
        few = [self.objectives.values(other, count) for other in whole]
        return to_all_sequences(self.objectives.values(sums), few, [self.objectives.values(other) for other in whole])

    def _measured(self, batch: Sequence[Trial], earlier: Mapping[int, Sums], note: Note) -> dict[int, Sums]:
        """The sums of all trials of a batch, some of them of fewer sequences."""
        models = {trial.number: self._recipes.of(trial.ratios) for trial in batch}
        sums: dict[int, Sums] = {}
        active, done = list(batch), 0
        for rung, size in enumerate(self._sizes):
            added = measured_rows(self._ruler, self._part, [models[trial.number] for trial in active], done, size, note)
            for trial, new in zip(active, added, strict=True):
                sums[trial.number] = np.concatenate([sums[trial.number], new], axis=1) if done else new
            done = size
            if size < self.sequences and batch[0].origin == FOUND:
                others = [self.objectives.values(own, size) for own in earlier.values() if own.shape[1] >= size]
                values = np.array([self.objectives.values(sums[trial.number]) for trial in active])
                count = max(1, -(-len(batch) // 2 ** (rung + 1)))
                go = going_on(values, np.array(others).reshape(-1, values.shape[1]), min(count, len(active)))
                active = [trial for trial, goes in zip(active, go, strict=True) if goes]
        return sums


def measured_rows(
    ruler: Ruler, part: Part, models: Sequence[Layers | None], first: int, last: int, note: Note
) -> list[Sums]:
    """The sums [S, last − first, 3] of each model on some sequences of every source."""
    rows, counts = part.between(first, last)
    found = ruler.measured(models, rows, note)
    return [sums.reshape(len(counts), last - first, 3) for sums in found]
