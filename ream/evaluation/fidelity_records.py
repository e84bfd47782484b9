"""Fidelity of a model to its original over sequences, with intervals; light to import, for the report.

Of every token that a sequence predicts: KL(p ‖ q) = Σ_v p(v) (log p(v) − log q(v)), with p the original's distribution
of the next token and q the model's; whether both have the same most likely token; and −log of the probability of the
token that follows, in both models. The means are over tokens. The perplexity ratio is exp(loss of q − loss of p).

Intervals are percentiles of a bootstrap over sequences, because the tokens of a sequence are not independent. They show
the noise of a finite amount of text, not what another text would do.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, ValidationError

from ream.errors import UserError
from ream.machine.files import read_json

KL, SAME, LOSS, ORIGINAL_LOSS, TOKENS = range(5)  # columns of sums
Sums = Float64[np.ndarray, "n 5"]
RESAMPLES = 1000
CONFIDENCE = 0.95


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measure(_Record):
    """A value and the ends of its 95% interval, which are None where there is one sequence only."""

    value: float
    low: float | None = None
    high: float | None = None


class Measures(_Record):
    """How close a model is to its original on some text.

    Attributes:
        kl: mean KL divergence of the next-token distribution from the original's, in nats per token.
        top_1: tokens whose most likely next token is the original's, in percent.
        perplexity_ratio: the model's perplexity divided by the original's.
        loss: the model's mean loss, in nats per token.
        original_loss: the original's.
        tokens: number of predicted tokens.
        sequences: number of sequences.
    """

    kl: Measure
    top_1: Measure
    perplexity_ratio: Measure
    loss: float
    original_loss: float
    tokens: int
    sequences: int


class Fidelity(_Record):
    """How close a model is to its original, by source of text.

    Attributes:
        sources: of each source.
        mean: plain means over the sources; the perplexity ratio is that of the mean losses.
    """

    sources: dict[str, Measures]
    mean: Measures


def read_fidelity(path: Path) -> Fidelity | None:
    """The fidelity in a file; None where the file has null.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    tree = read_json(path)
    try:
        return None if tree is None else Fidelity.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a fidelity: {where}: {first['msg']}; run the stage fidelity again") from None


def fidelity(sums: Mapping[str, Sums], seed: int = 0) -> Fidelity:
    """The measures of every source, and their means.

    Args:
        sums: source to the sums over the predicted tokens of each sequence, [n, 5] (KL, SAME, ...).
        seed: of the bootstrap.

    Raises:
        ValueError: there is no source, or one without predicted tokens.
    """
    if not sums or not all(len(rows) and rows[:, TOKENS].sum() for rows in sums.values()):
        raise ValueError("fidelity needs sources with predicted tokens")
    rng = np.random.default_rng(seed)
    means = {source: _means(rows, rng) for source, rows in sums.items()}
    several = any(len(rows) > 1 for rows in sums.values())
    together = np.mean(np.stack(list(means.values())), axis=0)
    tokens = {source: int(rows[:, TOKENS].sum()) for source, rows in sums.items()}
    return Fidelity(
        sources={
            source: _measures(found, tokens[source], len(sums[source]), len(sums[source]) > 1)
            for source, found in means.items()
        },
        mean=_measures(together, sum(tokens.values()), sum(map(len, sums.values())), several),
    )


def _means(rows: Sums, rng: np.random.Generator) -> Float64[np.ndarray, "samples 4"]:
    """Means over tokens: of all sequences in the first row, then of sequences drawn with replacement."""
    drawn = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    # A sequence of one token predicts none. Where such sequences alone were drawn, the mean of all stands in.
    totals = np.concatenate([rows.sum(axis=0)[None], drawn @ rows])
    empty = totals[:, TOKENS] == 0
    totals[empty] = totals[0]
    means: np.ndarray = totals[:, :TOKENS] / totals[:, TOKENS:]
    return means


def _measures(means: Float64[np.ndarray, "samples 4"], tokens: int, sequences: int, several: bool) -> Measures:
    def measure(of: Callable[[np.ndarray], np.ndarray]) -> Measure:
        values = of(means.T)
        if not several:
            return Measure(value=float(values[0]))
        low, high = np.quantile(values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Measure(value=float(values[0]), low=float(low), high=float(high))

    return Measures(
        kl=measure(lambda mean: mean[KL]),
        top_1=measure(lambda mean: 100 * mean[SAME]),
        perplexity_ratio=measure(lambda mean: np.exp(mean[LOSS] - mean[ORIGINAL_LOSS])),
        loss=float(means[0, LOSS]),
        original_loss=float(means[0, ORIGINAL_LOSS]),
        tokens=tokens,
        sequences=sequences,
    )
