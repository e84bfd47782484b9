"""Intervals of the mean held-out loss, from the standard errors of the sources' losses, which count as independent.

They show the noise of a finite amount of text only.
"""

from collections.abc import Mapping

from ream.analysis.numbers.intervals import CONFIDENCE, Estimate, Interval, mean_of
from ream.evaluation.scores import SourceLoss


def loss_interval(losses: Mapping[str, SourceLoss], confidence: float = CONFIDENCE) -> Interval:
    """The plain mean of the sources' losses and its interval, in nats per token, not below 0.

    Raises:
        ValueError: there are no losses.
    """
    return _mean(losses).interval(confidence, smallest=0.0)


def loss_difference(
    one: Mapping[str, SourceLoss], other: Mapping[str, SourceLoss], confidence: float = CONFIDENCE
) -> Interval:
    """One model's mean loss minus another's and its interval, in nats per token.

    The errors count as independent. Both models read the same text, so the interval is, if anything, too wide.

    Raises:
        ValueError: there are no losses, or the two models have losses on different sources.
    """
    if set(one) != set(other):
        raise ValueError(f"only one of the two models has a loss on {', '.join(sorted(set(one) ^ set(other)))}")
    return (_mean(one) - _mean(other)).interval(confidence)


def _mean(losses: Mapping[str, SourceLoss]) -> Estimate:
    """The mean loss over the sources."""
    if not losses:
        raise ValueError("a mean loss needs at least one source")
    return mean_of(Estimate(loss.loss, loss.stderr) for loss in losses.values())
