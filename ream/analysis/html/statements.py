"""Statements of the verdict in words, with the numbers they rest on."""

from dataclasses import dataclass
from typing import Literal

# Whether the numbers support the statement: the 95% interval leaves 0 out, contains 0, or there is none.
Standing = Literal["clear", "noise", "unknown"]


@dataclass(frozen=True)
class Point:
    """One method's number beside those of others.

    Attributes:
        method: name of the method.
        detail: the mix it was reached with, or the number of mixes.
        value: the number; None where it is not defined.
        low: lower end of its 95% interval; None where it is not known.
        high: upper end of its 95% interval; None where it is not known.
        digits: decimals to show.
        signed: whether the number is shown with its sign.
    """

    method: str
    detail: str
    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 1
    signed: bool = False

    @property
    def shown(self) -> str:
        """The value as people read it."""
        return "–" if self.value is None else number(self.value, self.digits, self.signed)


@dataclass(frozen=True)
class Statement:
    """A few sentences and the numbers they rest on.

    Attributes:
        subject: what it is about, in a few words.
        text: plain sentences.
        standing: whether the numbers support it.
        points: numbers of the methods, in the order of the text.
        reference: place of a line through the points, the original's value or 0; None for no line.
    """

    subject: str
    text: str
    standing: Standing
    points: tuple[Point, ...] = ()
    reference: float | None = None


@dataclass(frozen=True)
class SizeVerdict:
    """The verdict on the models that keep one number of experts."""

    experts: int
    best: tuple[Statement, ...]
    sources: tuple[Statement, ...]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one model's results from one origin.

    Attributes:
        model: name of the original.
        origin: origin of the numbers.
        sizes: verdicts from large to small; none where no compressed model was scored.
        notes: what holds for all of them, and what is not known.
    """

    model: str
    origin: str
    sizes: tuple[SizeVerdict, ...]
    notes: tuple[str, ...]


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number in a sentence, with a true minus sign; never "−0.0"."""
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def listed(parts: list[str]) -> str:
    """The parts as a list in a sentence: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(count: int, one: str, several: str) -> str:
    """A count with its noun: "1 mix", "2 mixes"."""
    return f"{count} {one if count == 1 else several}"
