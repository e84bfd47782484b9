"""From measured trials to what is reported: the front, what it measures on unseen text, the answer to a target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ream.analysis.numbers.dominated import contributions
from ream.analysis.numbers.pareto import front
from ream.search.known import compared_with
from ream.search.measuring import Objectives, Sums
from ream.search.records import Estimate, MixRecord, Target, TrialRow, Volumes
from ream.search.resampled import Resampled, reference_of
from ream.search.suggestions import FOUND
from ream.search.trials import Trial


@dataclass(frozen=True)
class Measured:
    """All trials of a finished search.

    Attributes:
        trials: in order of their numbers.
        sums: of each, on the search's text.
        values: of each, for all sequences; estimates for those that were stopped.
        objectives: what was minimised.
    """

    trials: Sequence[Trial]
    sums: Mapping[int, Sums]
    values: Mapping[int, Sequence[float]]
    objectives: Objectives

    @property
    def whole(self) -> list[int]:
        """Numbers of the trials that were measured on all sequences."""
        most = max(sums.shape[1] for sums in self.sums.values())
        return [trial.number for trial in self.trials if self.sums[trial.number].shape[1] == most]

    def front(self) -> list[int]:
        """Numbers of the trials that none dominates, among those that were measured on all sequences.

        Of several mixes that give the same model, the first.
        """
        first: dict[tuple[float, ...], int] = {}
        for number in self.whole:
            first.setdefault(tuple(self.values[number]), number)
        points = -np.array(list(first))
        return [number for number, member in zip(first.values(), front(points), strict=True) if member]

    def candidates(self, most: int) -> list[int]:
        """At most so many trials of the front: those that dominate most together, by number."""
        members = self.front()
        points = np.array([self.values[number] for number in members])
        reference = reference_of(np.array([self.values[number] for number in self.known]))
        chosen = contributions(-points, -reference, most)
        best = {int(points[:, place].argmin()) for place in range(points.shape[1])} if not chosen else set[int]()
        return sorted(members[place] for place in (*chosen, *best))

    @property
    def known(self) -> list[int]:
        """Numbers of the paper's mixes or, where fewer than two of them were tried, of all known ones, or of all."""
        whole = [trial for trial in self.trials if trial.number in self.whole]
        return [whole[place].number for place in compared_with([trial.origin for trial in whole])] or self.whole

    def rows(self) -> list[TrialRow]:
        """The table of trials."""
        members = set(self.front())
        return [
            TrialRow(
                trial=trial.number, mix=trial.name, origin=trial.origin, ratios=dict(trial.ratios),
                sequences=self.sums[trial.number].shape[1],
                values=dict(zip(self.objectives.names, self.values[trial.number], strict=True)),
                front=trial.number in members,
            )
            for trial in self.trials
        ]  # fmt: skip

    def by_weights(self, weights: Mapping[str, float]) -> list[int]:
        """Numbers of the trials by their weighted objective, the best first; without mixes that give the same model."""
        totals: dict[float, int] = {}
        for number in self.whole:
            values = dict(zip(self.objectives.names, self.values[number], strict=True))
            totals.setdefault(sum(weight * values[name] for name, weight in weights.items()), number)
        return [totals[total] for total in sorted(totals)]


def mix_records(
    measured: Measured, method: str, experts: int, members: Sequence[int], final: Resampled | None
) -> list[MixRecord]:
    """Records of the members and of the known mixes, by trial; members are named METHOD-K-1 and so on.

    Args:
        measured: the trials.
        method: name of the method.
        experts: K.
        members: candidates of the front, by number.
        final: what they measure on unseen text; None where there is none.
    """
    order = sorted(members, key=lambda number: (measured.values[number][0], number))
    names = {number: f"{method}-{experts}-{place}" for place, number in enumerate(order, start=1)}
    known = [trial.number for trial in measured.trials if trial.origin != FOUND]
    return [
        MixRecord(
            trial=number, name=names.get(number, f"known-{number}"), written=measured.trials[number].name,
            origin=measured.trials[number].origin, ratios=dict(measured.trials[number].ratios), front=number in names,
            search=dict(zip(measured.objectives.names, measured.values[number], strict=True)),
            final={} if final is None or number not in final.values else final.of(number),
        )
        for number in sorted({*known, *members})
    ]  # fmt: skip


def volumes_of(measured: Measured, members: Sequence[int], final: Resampled) -> Volumes:
    """The hypervolumes of the members and of the known mixes on unseen text."""
    return final.volumes(members, measured.known)


def target_of(measured: Measured, weights: Mapping[str, float], names: Mapping[int, str], final: Resampled) -> Target:
    """The mix of the least weighted objective on the search's text, with what it measures on unseen text.

    Args:
        measured: the trials.
        weights: objective to weight, as given.
        names: number of a trial to the name of its mix; the chosen one and the next are among them.
        final: measurements on unseen text, of both.
    """
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    best, *others = measured.by_weights(shares)
    values = dict(zip(measured.objectives.names, measured.values[best], strict=True))
    samples = final.weighted(best, shares)
    target = Target(
        weights=shares, mix=names[best], search=sum(share * values[name] for name, share in shares.items()),
        final=final.estimate(samples),
    )  # fmt: skip
    if not others:
        return target
    more = final.estimate(final.weighted(others[0], shares) - samples)
    return target.model_copy(update={"runner_up": measured.trials[others[0]].name, "runner_up_more": more})


def target_of_scores(records: Sequence[MixRecord], weights: Mapping[str, float]) -> Target:
    """The candidate of the largest weighted score on tasks; its value is negative, for less is better elsewhere."""
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}

    def score(record: MixRecord) -> float:
        return sum(share * record.scores[name] for name, share in shares.items())

    best, *others = sorted(
        (record for record in records if record.scores), key=lambda record: (-score(record), record.trial)
    )
    target = Target(weights=shares, mix=best.name, search=score(best))
    if not others:
        return target
    return target.model_copy(
        update={"runner_up": others[0].written, "runner_up_more": Estimate(value=score(others[0]) - score(best))}
    )


def by_scores(records: Sequence[MixRecord], objectives: Sequence[str]) -> list[MixRecord]:
    """The records with the front of all objectives: of the candidates, those that no other candidate dominates.

    Args:
        records: candidates have scores.
        objectives: on text and on tasks, those that were asked for.
    """
    own = [record for record in records if record.front and record.scores]
    if not own:
        return list(records)
    points = np.array(
        [
            [record.scores[name] if name in record.scores else -record.search[name] for name in objectives]
            for record in own
        ]
    )
    members = {record.trial for record, member in zip(own, front(points), strict=True) if member}
    return [record.model_copy(update={"front": record.trial in members}) for record in records]
