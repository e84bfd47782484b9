"""The mixes that a sampler suggests, each from the seed, its number and the trials before."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from ream.machine.heap import freed_memory_kept
from ream.params.search import Sampler
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
        processes: number of those that share the trials, which get batches of one size.
    """

    sources: Sequence[str]
    objectives: int
    known: Sequence[KnownMix]
    trials: int
    batch: int
    sampler: Sampler
    seed: int
    processes: int = 1


class Suggestions:
    """Suggests mixes for trials of the journal."""

    def __init__(self, plan: Plan) -> None:
        """Args:
        plan: what the search does.
        """
        self._plan = plan
        self._space = {f"u{place}": FloatDistribution(0.0, 1.0) for place in range(len(plan.sources) - 1)}

    def made(self, number: int, ratios: tuple[float, ...], batch: list[int]) -> FrozenTrial:
        """A trial that is being measured.

        Args:
            number: of the trial.
            ratios: of its mix.
            batch: number of the first trial of its batch, and how many trials that has.
        """
        known = self._plan.known[number] if number < len(self._plan.known) else None
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(zip(self._space, units_of(ratios), strict=True)),
            distributions=dict(self._space),
            user_attrs={
                "batch": batch,
                "name": ":".join(f"{ratio:g}" for ratio in ratios) if known is None else known.name,
                "origin": FOUND if known is None else known.origin,
                "ratios": dict(zip(self._plan.sources, ratios, strict=True)),
            },
        )

    def mixes(self, trials: Sequence[FrozenTrial], number: int, count: int) -> list[tuple[float, ...]]:
        """The mixes of so many trials from a number on: as the sampler suggests or, where tried, at random."""
        seen, mixes = list(trials), []
        with freed_memory_kept():  # a fifth of the sampler's time goes into new pages otherwise
            for own in range(number, number + count):
                known = self._plan.known[own].ratios if own < len(self._plan.known) else None
                mixes.append(self._new(own, seen) if known is None else known)
                seen.append(self.made(own, mixes[-1], [number, count]))
        return mixes

    def _new(self, number: int, seen: Sequence[FrozenTrial]) -> tuple[float, ...]:
        seed = 1000 * self._plan.seed + number
        ratios = rounded(ratios_of(self._suggested(seen, _sampler(self._plan, seed))))
        return self.random(seed, seen) if ratios in tried_in(seen) else ratios

    def random(self, seed: int, seen: Sequence[FrozenTrial]) -> tuple[float, ...]:
        """A mix at random."""
        return rounded(ratios_of(self._suggested(seen, optuna.samplers.RandomSampler(seed=seed))))

    def _suggested(self, seen: Sequence[FrozenTrial], sampler: optuna.samplers.BaseSampler) -> list[float]:
        """What a sampler suggests after these trials, of which some may still be measured."""
        asked = optuna.create_study(directions=["minimize"] * self._plan.objectives, sampler=sampler)
        asked.add_trials(seen)
        trial = asked.ask()
        return [trial.suggest_float(name, space.low, space.high) for name, space in self._space.items()]


def tried_in(trials: Sequence[FrozenTrial]) -> set[tuple[float, ...]]:
    """The mixes of trials."""
    return {tuple(trial.user_attrs["ratios"].values()) for trial in trials}


def _sampler(plan: Plan, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial."""
    startup = 2 * len(plan.sources)
    if plan.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    return optuna.samplers.RandomSampler(seed=seed)
