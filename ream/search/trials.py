"""The trials of a search: which mixes are tried, in batches that one process measures at a time.

A batch is written into the journal before it is measured, and belongs to whoever holds the lock of its file. What a
killed process leaves behind is taken up by another, or by the same command when it is run again. What is suggested
depends on the seed, on the trial's number and on the trials before, so one process ends with the same trials however
often it was killed. Several processes suggest at the same time, each without knowing the others' new mixes, because a
suggestion takes longer than its measurement where the model is small.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from ream.machine.files import locked
from ream.search.held import Held
from ream.search.journal import open_study
from ream.search.suggestions import Plan, Suggestions, tried_in


@dataclass(frozen=True)
class Trial:
    """A mix that is tried.

    Attributes:
        number: of the trial, from 0.
        name: of a known mix; its ratios otherwise.
        origin: of `KnownMix`, or FOUND.
        ratios: source to its share, in thousandths that sum to 1.
    """

    number: int
    name: str
    origin: str
    ratios: Mapping[str, float]


class Trials:
    """The trials in the journal of a folder.

    Attributes:
        plan: what the search does.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Open the journal.

        Args:
            folder: of the search's state, which processes share.
            plan: what the search does.
        """
        self._folder, self.plan = folder, plan
        self._study = open_study(folder, plan.objectives)
        self._suggest = Suggestions(plan)

    @contextmanager
    def next_batch(self) -> Iterator[list[Trial]]:
        """The trials of a batch that is not finished, held for this process; [] where there is none to be had."""
        with self._asking():
            first, held = self._taken()
            claim = None if held is not None else self._claimed()
        if claim is not None:
            mixes = self._suggest.mixes(self._study.get_trials(deepcopy=False), claim.number, claim.count)
            with self._asking():
                first, held = self._added(claim, mixes)
                claim.close()  # before anyone counts both the claim and its trials
        try:
            yield [] if first is None else [_trial_of(trial) for trial in self._of_batch(first)]
        finally:
            if held is not None:
                held.close()

    def finished(self) -> bool:
        """Whether all trials are."""
        trials = self._study.get_trials(deepcopy=False)
        return len(trials) >= self.plan.trials and all(trial.state.is_finished() for trial in trials)

    def tell(self, values: Mapping[int, Sequence[float]]) -> None:
        """Write the values of the trials of a batch, by their numbers; those that have theirs are left alone."""
        for number, own in values.items():
            self._study.tell(number, list(own), skip_if_finished=True)

    def told(self) -> dict[int, list[float]]:
        """The values of all finished trials, by their numbers."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {trial.number: list(trial.values) for trial in trials}

    def all(self) -> list[Trial]:
        """All trials so far."""
        return [_trial_of(trial) for trial in self._study.get_trials(deepcopy=False)]

    def _asking(self) -> AbstractContextManager[None]:
        """What decides on batches happens in one process at a time."""
        return locked(self._folder / "asking", wait=True)

    def _taken(self) -> tuple[int | None, Held | None]:
        """A batch and its lock: one that nobody works on any more, or of known mixes."""
        trials = self._study.get_trials(deepcopy=False)
        running = [trial for trial in trials if not trial.state.is_finished()]
        for first in dict.fromkeys(trial.user_attrs["batch"][0] for trial in running):
            if (held := Held.of(self._lock(first))) is not None:
                count = self._of_batch(first)[0].user_attrs["batch"][1]
                there = len(trials)  # a process was killed when it had written some of the batch
                self._add(first, count, self._suggest.mixes(trials, there, first + count - there))
                return first, held
        first, known = len(trials), min(len(self.plan.known), self.plan.trials)
        if first >= known:
            return None, None
        held, count = Held.of(self._lock(first)), min(self._size(known), known - first)
        self._add(first, count, [mix.ratios for mix in self.plan.known[first : first + count]])
        return first, held

    def _claimed(self) -> "_Claim | None":
        """The right to suggest the mixes of a batch, which nobody else suggests meanwhile; None where all are."""
        there, others = len(self._study.get_trials(deepcopy=False)), 0
        for path in self._folder.glob("claim-*.lock"):
            held = Held.of(path)
            if held is None:
                others += int(path.stem.split("-")[2])
                continue
            path.unlink()  # its process was killed
            held.close()
        number = there + others
        if number >= self.plan.trials:
            return None
        count = min(self._size(self.plan.trials - len(self.plan.known)), self.plan.trials - number)
        path = self._folder / f"claim-{number}-{count}.lock"
        held = Held.of(path)
        assert held is not None
        return _Claim(number, count, path, held)

    def _size(self, trials: int) -> int:
        """How many trials a batch has, so that all processes measure alike many of these."""
        return self.plan.batch if self.plan.processes == 1 else even_size(trials, self.plan.batch, self.plan.processes)

    def _added(self, claim: "_Claim", mixes: Sequence[tuple[float, ...]]) -> tuple[int, Held | None]:
        """Write the suggested mixes, behind what others have written meanwhile."""
        trials = self._study.get_trials(deepcopy=False)
        first = len(trials)
        held = Held.of(self._lock(first))
        tried, seed = tried_in(trials), 1000 * self.plan.seed + claim.number
        mixes = [  # others may have found the same
            self._suggest.random(seed + place, trials) if ratios in tried else ratios
            for place, ratios in enumerate(mixes)
        ]
        self._add(first, claim.count, mixes)
        return first, held

    def _add(self, first: int, count: int, mixes: Sequence[tuple[float, ...]]) -> None:
        """Write the last trials of a batch into the journal."""
        start = first + count - len(mixes)
        for number, ratios in enumerate(mixes, start=start):
            self._study.add_trial(self._suggest.made(number, ratios, [first, count]))

    def _of_batch(self, first: int) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.user_attrs["batch"][0] == first]

    def _lock(self, first: int) -> Path:
        return self._folder / f"batch-{first}.lock"


@dataclass(frozen=True)
class _Claim:
    """The right to suggest the mixes of a batch.

    Attributes:
        number: which of all suggestions they are, in the order of the claims.
        count: number of mixes.
        path: of the lock file.
        held: its lock.
    """

    number: int
    count: int
    path: Path
    held: Held

    def close(self) -> None:
        """Give it up."""
        self.path.unlink(missing_ok=True)
        self.held.close()


def even_size(count: int, most: int, processes: int) -> int:
    """The size of batches of at most ``most``, so that all processes get alike many of ``count`` items; at least 1."""
    rounds = max(1, -(-count // (most * processes)))
    return max(1, -(-count // (rounds * processes)))


def _trial_of(trial: FrozenTrial) -> Trial:
    given = trial.user_attrs
    return Trial(trial.number, given["name"], given["origin"], given["ratios"])
