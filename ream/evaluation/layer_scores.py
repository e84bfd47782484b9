"""Held-out loss and all tasks of a suite in one walk of a model through its layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ream.evaluation.by_layers import Answer, Walker
from ream.evaluation.harness import Harness
from ream.evaluation.loss import loss_of
from ream.evaluation.queries import Query
from ream.evaluation.store import ResultStore
from ream.evaluation.windows import PADDING, Windows


def scores_by_layers(
    harness: Harness,
    walker: Walker,
    model: Any,
    tokenizer: Any,
    windows: Mapping[str, Windows],
    progress: ResultStore | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The loss on every source (`window_loss`) and the scores of all tasks (`Harness.by_layers`).

    Args:
        harness: the suite's tasks.
        walker: of the model.
        model: transformers' model without weights.
        tokenizer: of the model.
        windows: source to its windows.
        progress: takes the results of the tasks and the answers.

    Raises:
        UserError: a task generates text, or what the walk refuses.
    """
    losses: dict[str, dict[str, float]] = {}

    def answer(queries: list[Query]) -> dict[Query, Answer]:
        of_windows = {source: [_query(row) for row in rows] for source, rows in windows.items()}
        extra = [query for rows in of_windows.values() for query in rows if query is not None]
        asked = list(dict.fromkeys([*queries, *extra]))
        known = dict(zip(asked, walker.answers(asked), strict=True))
        for source, rows in of_windows.items():
            sums = np.array([0.0 if query is None else -known[query][0] for query in rows])
            losses[source] = loss_of(sums, np.array([0.0 if query is None else query.targets for query in rows]))
        return known

    scores = harness.by_layers(model, tokenizer, answer, progress)
    return losses, scores


def _query(window: np.ndarray) -> Query | None:
    """The question for all tokens of a window [tokens] but its first; None for a window of one token."""
    ids = tuple(int(token) for token in window[window != PADDING])
    return Query(ids, len(ids) - 1) if len(ids) > 1 else None
