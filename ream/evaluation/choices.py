"""Four choices in a random order."""

import random
from collections.abc import Sequence

CHOICES = 4


def with_distractors(
    context: str, right: str, others: Sequence[str], draw: random.Random, prefix: str = ""
) -> dict | None:
    """A multiple-choice row: the right text and three different others, in random order.

    Returns:
        {context, choices, label}; None where ``others`` holds fewer than three texts that differ from the right one.
    """
    pool = sorted(set(others) - {right})
    if len(pool) < CHOICES - 1:
        return None
    choices = [right, *draw.sample(pool, CHOICES - 1)]
    draw.shuffle(choices)
    return {"context": context, "choices": [prefix + text for text in choices], "label": choices.index(right)}
