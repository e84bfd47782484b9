"""Which compressed model to take at a size, which others cannot be told apart from it, and by which measure.

The measure is the first of QUALITIES that all models of the size have: the KL divergence from the original, the mean
held-out loss, AVG, GEN, MC. Those whose difference from the best has a 95% interval that contains 0 are as good as it,
as far as can be told; without an interval, only equal ones are. Among them the next measure that all of them have
decides, and then the order of methods and mixes. Intervals treat the two models as independent, though both read the
same text and answered the same questions: they are, if anything, too wide, so that too much counts as equal.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ream.analysis.numbers.intervals import Interval
from ream.analysis.numbers.loss_intervals import loss_difference, loss_interval
from ream.analysis.numbers.paired import Paired
from ream.analysis.numbers.row_intervals import intervals_between, intervals_of
from ream.analysis.results.methods import method_place
from ream.analysis.results.rows import Row
from ream.evaluation.scores import Cell

MOST = 5  # candidates worth considering


@dataclass(frozen=True)
class Candidate:
    """A compressed model of ours.

    Attributes:
        row: its scores and fidelity.
        cell: its held-out losses and parameters.
        paired: its scores minus the original's on the same questions; None where these are not known.
    """

    row: Row
    cell: Cell
    paired: Paired | None = None

    def below(self, measure: Literal["mc", "gen"], original: Cell) -> float | None:
        """The model's MC or GEN minus the original's, in points; None where one of them is not known."""
        exact: Interval | None = None if self.paired is None else getattr(self.paired, measure)
        value, reference = getattr(self.row, measure), getattr(original, measure)
        if exact is not None:
            return exact.value
        return None if value is None or reference is None else value - reference


@dataclass(frozen=True)
class Quality:
    """A measure that can choose among candidates.

    Attributes:
        name: its name in a sentence.
        axis: its name and unit at an axis.
        value: of a candidate; None where it has none.
        interval: the 95% interval of its value; None where there is none.
        difference: the 95% interval of one candidate's value minus another's; None where there is none.
        lower: whether the smallest value is the best.
        digits: decimals to show.
    """

    name: str
    axis: str
    value: Callable[[Candidate], float | None]
    interval: Callable[[Candidate], Interval | None]
    difference: Callable[[Candidate, Candidate], Interval | None]
    lower: bool
    digits: int

    def rank(self, candidate: Candidate) -> float:
        """The candidate's value as a sort key, the best first; infinite where it has none."""
        value = self.value(candidate)
        return math.inf if value is None else value if self.lower else -value


@dataclass(frozen=True)
class Choice:
    """The model to take at one size.

    Attributes:
        experts: experts kept in each layer.
        chosen: the model.
        measure: the measure that compares all of the size.
        tied: the other methods' models that the measure does not tell apart from the best, one per method; the best
            itself is among them where another was chosen.
        decided: the measure that then decided among them; None where there was nothing to decide, or they stayed equal.
    """

    experts: int
    chosen: Candidate
    measure: Quality
    tied: tuple[Candidate, ...]
    decided: Quality | None


def choices(candidates: Sequence[Candidate]) -> list[Choice]:
    """The choice at each size, from large to small; sizes without any measure are left out."""
    by_size = {
        experts: [candidate for candidate in candidates if candidate.row.experts == experts]
        for experts in sorted({candidate.row.experts for candidate in candidates}, reverse=True)
    }
    made = (_choice(experts, of_size) for experts, of_size in by_size.items())
    return [choice for choice in made if choice is not None]


def worth_considering(made: Sequence[Choice], most: int = MOST) -> list[tuple[Choice, Candidate]]:
    """The chosen model of each size, then those that cannot be told apart from it, a turn for each size.

    Returns:
        At most ``most`` candidates with the choice they belong to: by size, the chosen one first.
    """
    turns = max((1 + len(choice.tied) for choice in made), default=0)
    queue = [
        (choice, (choice.chosen, *choice.tied)[turn])
        for turn in range(turns)
        for choice in made
        if turn <= len(choice.tied)
    ]
    return sorted(queue[:most], key=lambda pair: -pair[0].experts)


def common_quality(candidates: Sequence[Candidate]) -> Quality | None:
    """The first of QUALITIES that all of the candidates have; else the first that any has; None without any."""
    shared = (quality for quality in QUALITIES if all(quality.value(one) is not None for one in candidates))
    some = (quality for quality in QUALITIES if any(quality.value(one) is not None for one in candidates))
    return next(shared, next(some, None)) if candidates else None


def best_of_methods(candidates: Iterable[Candidate], quality: Quality) -> list[Candidate]:
    """The best candidate of each method with a value, the best method first; ties go to the earlier method and mix."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        before = best.get(candidate.row.method)
        if quality.value(candidate) is not None and (before is None or quality.rank(candidate) < quality.rank(before)):
            best[candidate.row.method] = candidate
    return sorted(best.values(), key=lambda one: (quality.rank(one), method_place(one.row.method)))


def _choice(experts: int, candidates: Sequence[Candidate]) -> Choice | None:
    """The choice among the models of one size; None where none has a measure."""
    quality = common_quality(candidates)
    if quality is None:
        return None
    known = [one for one in candidates if quality.value(one) is not None]
    best = best_of_methods(known, quality)[0]
    equal = [one for one in known if one is best or _equal(one, best, quality)]
    chosen, decided = best, None
    for further in QUALITIES[QUALITIES.index(quality) + 1 :]:
        if len(equal) > 1 and all(further.value(one) is not None for one in equal):
            first = best_of_methods(equal, further)[0]
            if any(further.value(one) != further.value(first) for one in equal):
                chosen, decided = first, further
            break
    others = [one for one in equal if one.row.method != chosen.row.method]
    return Choice(experts, chosen, quality, tuple(best_of_methods(others, quality)), decided)


def _equal(one: Candidate, best: Candidate, quality: Quality) -> bool:
    """Whether a measure does not tell a candidate apart from the best."""
    difference = quality.difference(one, best)
    if difference is None:
        return quality.value(one) == quality.value(best)
    return difference.low <= 0 <= difference.high


def _kl(candidate: Candidate) -> Interval | None:
    """The KL divergence with its interval, of width 0 where there is none."""
    if candidate.row.fidelity is None:
        return None
    kl = candidate.row.fidelity.kl
    return Interval(kl.value, kl.value if kl.low is None else kl.low, kl.value if kl.high is None else kl.high)


def _kl_interval(candidate: Candidate) -> Interval | None:
    """The interval of the KL divergence, where there is one."""
    kl = _kl(candidate)
    return None if kl is None or kl.low == kl.high else kl


def _kl_difference(one: Candidate, other: Candidate) -> Interval | None:
    """The interval of the difference of two divergences, from the intervals of both (Zou and Donner, 2008)."""
    first, second = _kl_interval(one), _kl_interval(other)
    if first is None or second is None:
        return None
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    return Interval(value, low, value + math.hypot(first.high - first.value, second.value - second.low))


def _loss_difference(one: Candidate, other: Candidate) -> Interval | None:
    """The interval of the difference of two mean losses on the same sources."""
    same = set(one.cell.loss) == set(other.cell.loss) and one.cell.loss
    return loss_difference(one.cell.loss, other.cell.loss) if same else None


def _score(name: str) -> Quality:
    """AVG, GEN or MC; the attribute of rows and of intervals is the name in lower case."""
    field = name.lower()

    def value(candidate: Candidate) -> float | None:
        mean: float | None = getattr(candidate.row, field)
        return mean

    def interval(candidate: Candidate) -> Interval | None:
        of_mean: Interval | None = getattr(intervals_of([candidate.row]), field)
        return of_mean

    def difference(one: Candidate, other: Candidate) -> Interval | None:
        of_difference: Interval | None = getattr(intervals_between([one.row], [other.row]), field)
        return of_difference

    return Quality(name, f"{name} (%)", value, interval, difference, lower=False, digits=1)


def _value_of_kl(candidate: Candidate) -> float | None:
    """The KL divergence; None where it was not measured."""
    kl = _kl(candidate)
    return None if kl is None else kl.value


def _loss_interval(candidate: Candidate) -> Interval | None:
    """The interval of the mean loss; None without losses."""
    return loss_interval(candidate.cell.loss) if candidate.cell.loss else None


KL = Quality(
    "KL", "KL divergence from the original (nats per token)", _value_of_kl, _kl_interval, _kl_difference, True, 3
)
LOSS = Quality(
    "held-out loss", "mean held-out loss (nats per token)", lambda one: one.cell.mean_loss, _loss_interval,
    _loss_difference, True, 3,
)  # fmt: skip
AVG, GEN, MC = _score("AVG"), _score("GEN"), _score("MC")
QUALITIES = (KL, LOSS, AVG, GEN, MC)
