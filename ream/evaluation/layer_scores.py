"""Held-out loss and all tasks of a suite in one walk of models through their layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ream.evaluation.by_layers import Answer, Walker
from ream.evaluation.harness import Harness
from ream.evaluation.loss import loss_of
from ream.evaluation.queries import Query
from ream.evaluation.store import ResultStore
from ream.evaluation.windows import PADDING, Windows

Losses = dict[str, dict[str, float]]  # source to its loss (`window_loss`)


def scores_by_layers(
    harness: Harness,
    walker: Walker,
    model: Any,
    tokenizer: Any,
    windows: Mapping[str, Windows],
    stores: Sequence[ResultStore | None],
) -> list[tuple[Losses, dict[str, Any]]]:
    """For each model of a walker its loss on every source (`window_loss`), and its scores (`Harness.score`).

    Args:
        harness: the suite's tasks.
        walker: of the models.
        model: transformers' model without weights, of any of them: prompts are encoded and cut alike.
        tokenizer: of the models.
        windows: source to its windows.
        stores: for each model, takes the results of the tasks and the answers.

    Raises:
        UserError: a task generates text, or what the walk refuses.
    """
    losses: list[Losses] = []

    def answer(queries: list[Query]) -> list[dict[Query, Answer]]:
        of_windows = {source: [window_query(row) for row in rows] for source, rows in windows.items()}
        extra = [query for rows in of_windows.values() for query in rows if query is not None]
        asked = list(dict.fromkeys([*queries, *extra]))
        every = [dict(zip(asked, answers, strict=True)) for answers in walker.answers(asked)]
        losses.extend(
            {source: queries_loss(rows, {query: found[0] for query, found in known.items()})
             for source, rows in of_windows.items()}
            for known in every
        )  # fmt: skip
        return every

    scores = harness.by_layers(model, tokenizer, answer, stores)
    return list(zip(losses, scores, strict=True))


def queries_loss(queries: Sequence[Query | None], likely: Mapping[Query, float]) -> dict[str, float]:
    """The loss on windows (`window_loss`), from the log-probability of each one's tokens.

    Args:
        queries: of each window; None for a window of one token, which predicts nothing.
        likely: query to the log-probability of the tokens that it asks for.
    """
    sums = np.array([0.0 if query is None else -likely[query] for query in queries])
    return loss_of(sums, np.array([0.0 if query is None else query.targets for query in queries]))


def window_query(window: np.ndarray) -> Query | None:
    """The question for all tokens of a window [tokens] but its first; None for a window of one token."""
    ids = tuple(int(token) for token in window[window != PADDING])
    return Query(ids, len(ids) - 1) if len(ids) > 1 else None
