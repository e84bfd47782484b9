"""Values and intervals of a statement's methods as positions on one common scale."""

from collections.abc import Iterable
from dataclasses import dataclass

from ream.analysis.figures.style import styles
from ream.analysis.html.statements import Point, Statement

PADDING = 0.05  # of the range, at both ends


@dataclass(frozen=True)
class Strip:
    """A point, the tone of its method, and the positions of its value and its interval's ends.

    Positions are in percent of the width; None where they are not known.
    """

    point: Point
    tone: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Strips:
    """The strips of a statement, and the position of its reference line."""

    strips: tuple[Strip, ...]
    reference: float | None


def strips_of(statement: Statement, among: Iterable[str] = ()) -> Strips:
    """The strips of a statement.

    Correlations share the scale −1 to 1; other values the range of all values, intervals and the reference.

    Args:
        statement: the statement.
        among: all methods of the report (`ream.analysis.figures.style.styles`).
    """
    points = statement.points
    numbers = [end for point in points for end in (point.value, point.low, point.high, statement.reference)
               if end is not None]  # fmt: skip
    if any(point.signed for point in points):
        smallest, largest = -1.0, 1.0
    else:
        smallest, largest = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    span = (largest - smallest) or 1.0
    start, width = smallest - PADDING * span, (1 + 2 * PADDING) * span

    def at(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - start) / width, 2)

    look = styles((point.method for point in points), among)
    strips = (Strip(point, look[point.method].tone, at(point.value), at(point.low), at(point.high)) for point in points)
    return Strips(tuple(strips), at(statement.reference))
