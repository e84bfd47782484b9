"""Multiple-choice items whose four choices differ in little but which one is right."""

import hashlib
import heapq
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ream.evaluation.demo.rows import ChoiceRow

Item = TypeVar("Item")

CHOICES = 4
WORD = re.compile(r"[A-Za-z]+|[^A-Za-z\s]")
SIGN_COST = 0.5


class Rarity:
    """Rarity of a text: the sum over its words of -log(fraction of the documents that contain the word).

    A language model's log-likelihood of a continuation depends on its words more than on its fit to the context. Four
    choices of about the same rarity leave the fit to decide. The count is of documents, not of occurrences: a word that
    only one document uses is rare however often it occurs there, because it surprises a model that hasn't seen that
    document.

    Args:
        documents: the texts in which words are counted.
    """

    def __init__(self, documents: Iterable[str]) -> None:
        texts = list(documents)
        self._documents = Counter(word for text in texts for word in set(WORD.findall(text)))
        self._total = len(texts)

    def __call__(self, text: str) -> float:
        """Rarity in nats. A punctuation sign costs SIGN_COST more, because every document contains it."""
        cost = 0.0
        for word in WORD.findall(text):
            cost -= math.log((self._documents[word] + 0.1) / self._total)
            cost += 0.0 if word.isalpha() else SIGN_COST
        return cost


def in_order(items: Iterable[Item], seed: str, text: Callable[[Item], str]) -> list[Item]:
    """The items sorted by a hash of the seed and of each item's text.

    The order looks random, and one more item leaves the order of the others unchanged.
    """
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{text(item)}".encode()).digest())


def nearest(right: str, others: Sequence[tuple[str, float]], rarity: float, count: int) -> list[str]:
    """The ``count`` distinct texts other than ``right`` whose rarity is nearest to ``rarity``; ties by the text.

    Args:
        right: the text to leave out.
        others: texts with their rarity.
        rarity: rarity to come close to.
        count: number of texts to return; fewer are returned if there are no more.
    """
    ranked = heapq.nsmallest(count, {(abs(other - rarity), text) for text, other in others if text != right})
    return [text for _, text in ranked]


def with_distractors(
    context: str, right: str, others: Sequence[str], draw: random.Random, prefix: str = ""
) -> ChoiceRow | None:
    """A multiple-choice row of the right text and three distinct distractors, in random order.

    Args:
        context: what the choices continue.
        right: the right text.
        others: texts from which the distractors are drawn.
        draw: generator that draws the distractors and the order.
        prefix: put before each choice.

    Returns:
        The row; None if ``others`` holds fewer than three distinct texts that differ from the right one.
    """
    pool = sorted(set(others) - {right})
    if len(pool) < CHOICES - 1:
        return None
    choices = [right, *draw.sample(pool, CHOICES - 1)]
    draw.shuffle(choices)
    return {"context": context, "choices": [prefix + text for text in choices], "label": choices.index(right)}
