"""The trials of a search: which mixes are tried, in batches that one process measures at a time.

A batch is written into the journal before it is measured, and belongs to whoever holds the lock of its file. What a
killed process leaves behind is taken up by another, or by the same command when it is run again. What is suggested
depends on the seed, on the trial's number and on the trials before, so one process ends with the same trials however
often it was killed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from ream.machine.files import locked
from ream.params.search import Sampler
from ream.search.held import Held
from ream.search.journal import open_study
from ream.search.known import KnownMix
from ream.search.simplex import ratios_of, rounded, units_of

FOUND = "found"  # origin of mixes that the sampler suggests


@dataclass(frozen=True)
class Plan:
    """What a search does.

    Attributes:
        sources: names of the sources.
        objectives: number of values of a trial.
        known: mixes that are tried first.
        trials: number of all trials; the known mixes count.
        batch: most trials that walk side by side.
        sampler: of the mixes that are not known.
        seed: of the sampler.
    """

    sources: Sequence[str]
    objectives: int
    known: Sequence[KnownMix]
    trials: int
    batch: int
    sampler: Sampler
    seed: int


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
        self._space = {f"u{place}": FloatDistribution(0.0, 1.0) for place in range(len(plan.sources) - 1)}

    @contextmanager
    def next_batch(self) -> Iterator[list[Trial]]:
        """The trials of a batch that is not finished, held for this process; [] where there is none to be had."""
        with locked(self._folder / "asking", wait=True):
            first, held = self._taken()
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

    def _taken(self) -> tuple[int | None, Held | None]:
        """A batch and its lock: one that nobody works on any more, or a new one."""
        trials = self._study.get_trials(deepcopy=False)
        running = [trial for trial in trials if not trial.state.is_finished()]
        for first in dict.fromkeys(trial.user_attrs["batch"][0] for trial in running):
            if (held := Held.of(self._lock(first))) is not None:
                self._fill(first, self._of_batch(first)[0].user_attrs["batch"][1])
                return first, held
        first = len(trials)
        if first >= self.plan.trials:
            return None, None
        ends = [self.plan.trials] + [len(self.plan.known)] * (first < len(self.plan.known))
        count = min(self.plan.batch, *(end - first for end in ends))  # known mixes are a batch of their own
        held = Held.of(self._lock(first))
        self._fill(first, count)
        return first, held

    def _fill(self, first: int, count: int) -> None:
        """Write the trials of a batch that are not in the journal yet."""
        for number in range(len(self._study.get_trials(deepcopy=False)), first + count):
            known = self.plan.known[number] if number < len(self.plan.known) else None
            ratios = self._new(number) if known is None else known.ratios
            name = ":".join(f"{ratio:g}" for ratio in ratios) if known is None else known.name
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=dict(zip(self._space, units_of(ratios), strict=True)),
                    distributions=dict(self._space),
                    user_attrs={
                        "batch": [first, count],
                        "name": name,
                        "origin": FOUND if known is None else known.origin,
                        "ratios": dict(zip(self.plan.sources, ratios, strict=True)),
                    },
                )
            )

    def _new(self, number: int) -> tuple[float, ...]:
        """The mix of a trial: as the sampler suggests or, where that has been tried, one at random."""
        seen = self._study.get_trials(deepcopy=False)[:number]
        tried = {tuple(trial.user_attrs["ratios"].values()) for trial in seen}
        seed = 1000 * self.plan.seed + number
        for sampler in (_sampler(self.plan, seed), optuna.samplers.RandomSampler(seed=seed)):
            ratios = rounded(ratios_of(self._suggested(seen, sampler)))
            if ratios not in tried:
                break
        return ratios

    def _suggested(self, seen: Sequence[FrozenTrial], sampler: optuna.samplers.BaseSampler) -> list[float]:
        """What a sampler suggests after these trials, of which some may still be measured."""
        asked = optuna.create_study(directions=["minimize"] * self.plan.objectives, sampler=sampler)
        asked.add_trials(seen)
        trial = asked.ask()
        return [trial.suggest_float(name, space.low, space.high) for name, space in self._space.items()]

    def _of_batch(self, first: int) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.user_attrs["batch"][0] == first]

    def _lock(self, first: int) -> Path:
        return self._folder / f"batch-{first}.lock"


def _trial_of(trial: FrozenTrial) -> Trial:
    given = trial.user_attrs
    return Trial(trial.number, given["name"], given["origin"], given["ratios"])


def _sampler(plan: Plan, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial."""
    startup = 2 * len(plan.sources)
    if plan.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    return optuna.samplers.RandomSampler(seed=seed)
