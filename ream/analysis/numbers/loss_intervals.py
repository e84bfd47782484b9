"""Intervals of the mean held-out loss, from the standard errors of the sources' losses.

The mean over n sources of independent errors has the standard error sqrt(sum of squares) / n; the interval is the
normal one. It shows the noise of a finite amount of text only.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist

from ream.analysis.numbers.intervals import Interval
from ream.evaluation.scores import SourceLoss


def loss_interval(losses: Mapping[str, SourceLoss], confidence: float = 0.95) -> Interval:
    """The plain mean of the sources' losses and its interval, in nats a token, not below 0.

    Raises:
        ValueError: there are no losses.
    """
    value, error = _mean(losses)
    width = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Interval(value, max(value - width, 0.0), value + width)


def loss_difference(
    one: Mapping[str, SourceLoss], other: Mapping[str, SourceLoss], confidence: float = 0.95
) -> Interval:
    """One model's mean loss less another's.

    The errors count as independent. Both models read the same text, so that the interval is, if anything, too wide.

    Raises:
        ValueError: there are no losses, or not of the same sources.
    """
    if set(one) != set(other):
        raise ValueError(f"only one of the two models has a loss on {', '.join(sorted(set(one) ^ set(other)))}")
    (value, error), (other_value, other_error) = _mean(one), _mean(other)
    width = NormalDist().inv_cdf((1 + confidence) / 2) * math.hypot(error, other_error)
    return Interval(value - other_value, value - other_value - width, value - other_value + width)


def _mean(losses: Mapping[str, SourceLoss]) -> tuple[float, float]:
    if not losses:
        raise ValueError("a mean loss needs a source")
    value = math.fsum(loss.loss for loss in losses.values()) / len(losses)
    return value, math.sqrt(math.fsum(loss.stderr**2 for loss in losses.values())) / len(losses)
