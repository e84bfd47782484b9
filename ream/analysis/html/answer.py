"""The answer at the top of the page: which model to take at each size, in a sentence with its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ream.analysis.html.drawings import Drawing
from ream.analysis.html.statements import listed, number
from ream.analysis.numbers.choice import KL, LOSS, Candidate, Choice
from ream.analysis.numbers.intervals import Interval
from ream.analysis.results.rows import Row
from ream.analysis.tables.table import Table
from ream.evaluation.scores import Cell

RULE = (
    "How it is chosen: at each size by the lowest KL divergence from the original if all models have one, else by the "
    "lowest mean held-out loss, else by the highest AVG, GEN or MC. Models whose difference from the best has a 95% "
    "interval that contains 0 count as equal; among them the next of these measures that all of them have decides. The "
    "best of many looks a little better than it is, because it is chosen on the text that it is measured on."
)


@dataclass(frozen=True)
class Advice:
    """What to take at one size.

    Attributes:
        lead: the sentence with the choice.
        note: which others cannot be told apart from it; empty where it is alone.
        command: the command that writes its checkpoint.
    """

    lead: str
    note: str
    command: str


@dataclass(frozen=True)
class Answer:
    """The first screen of the page.

    Attributes:
        advice: by size, from large to small.
        drawing: quality against size.
        table: the candidates worth considering.
    """

    advice: tuple[Advice, ...]
    drawing: Drawing
    table: Table


def advice(made: Sequence[Choice], original: Cell, command: Callable[[Row], str]) -> tuple[Advice, ...]:
    """A sentence for each choice, with the numbers that it rests on.

    Args:
        made: the choices, from large to small.
        original: the original's scores.
        command: from a model's row to the command that writes its checkpoint.
    """
    return tuple(
        Advice(_lead(choice, original, first=place == 0), _note(choice), command(choice.chosen.row))
        for place, choice in enumerate(made)
    )


def _lead(choice: Choice, original: Cell, first: bool) -> str:
    """The choice and what it costs: "Keep 24 of 32 experts with reap on balanced: −2.1 MC, KL 0.25, 22% smaller."."""
    one = choice.chosen
    spans = (None, None) if one.paired is None else (one.paired.mc, one.paired.gen)
    parts = [
        _told(value, span, 1, True) + f" {name}"
        for name, value, span in zip(
            ("MC", "GEN"), (one.below("mc", original), one.below("gen", original)), spans, strict=True
        )
        if value is not None
    ]
    parts += [f"KL {_told(value, KL.interval(one), 2)}" for value in [KL.value(one)] if value is not None]
    if one.cell.mean_loss is not None and original.mean_loss is not None:
        parts.append(f"held-out loss {number(one.cell.mean_loss - original.mean_loss, 2, True)}")
    parts.append(f"{100 * (1 - one.cell.parameters / original.parameters):.0f}% smaller")
    kept = f"Keep {choice.experts} of {original.experts} experts" if first else f"At {choice.experts}"
    return f"{kept} with {_called(one)}: {', '.join(parts)}."


def _note(choice: Choice) -> str:
    """Which models cannot be told apart from the chosen one, and what decided among them."""
    if not choice.tied:
        return f"By {choice.measure.name}, no other method is as good." if choice.decided is None else ""
    text = f"By {choice.measure.name}, it cannot be told apart from {listed([_called(one) for one in choice.tied])}"
    return f"{text}; of these it has the {_best(choice)}." if choice.decided is not None else f"{text}."


def _best(choice: Choice) -> str:
    """The measure that decided, as what the chosen model has."""
    assert choice.decided is not None, "asked only where a further measure decided"
    return f"{'lowest' if choice.decided in (KL, LOSS) else 'highest'} {choice.decided.name}"


def _called(one: Candidate) -> str:
    """The model's name in a sentence."""
    return f"{one.row.method} on {one.row.mix}" if one.row.mix else one.row.method


def _told(value: float, span: Interval | None, digits: int, signed: bool = False) -> str:
    """A value with the longer side of its interval, where there is one."""
    text = number(value, digits, signed)
    if span is None:
        return text
    return f"{text} ± {max(span.high - value, value - span.low):.{digits}f}"
