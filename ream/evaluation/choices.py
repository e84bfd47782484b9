"""Four choices that are alike in everything but which one is right."""

import hashlib
import heapq
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

CHOICES = 4
WORD = re.compile(r"[A-Za-z]+|[^A-Za-z\s]")
SIGN_COST = 0.5


class Rarity:
    """How surprising a text's words are by themselves: the sum of -log(share of documents that have the word).

    A language model's log-likelihood of a continuation depends on its words more than on its fit to the context. Four
    choices of about the same rarity leave the fit to decide. Words in one document alone count as rare however often
    they occur there, because a model that hasn't seen the document is surprised by them.

    Args:
        documents: to count in.
    """

    def __init__(self, documents: Iterable[str]) -> None:
        texts = list(documents)
        self._documents = Counter(word for text in texts for word in set(WORD.findall(text)))
        self._total = len(texts)

    def __call__(self, text: str) -> float:
        """In nats; a punctuation sign, which every document has, costs SIGN_COST more."""
        cost = 0.0
        for word in WORD.findall(text):
            cost -= math.log((self._documents[word] + 0.1) / self._total)
            cost += 0.0 if word.isalpha() else SIGN_COST
        return cost


def in_order(texts: Iterable[Item], seed: str, text: Callable[[Item], str]) -> list[Item]:
    """The items in a random order that follows from the seed and each one's text: one more leaves the others' as is."""
    return sorted(texts, key=lambda item: hashlib.sha256(f"{seed}/{text(item)}".encode()).digest())


def nearest(right: str, others: Sequence[tuple[str, float]], rarity: float, count: int) -> list[str]:
    """The ``count`` different texts whose rarity is nearest to ``rarity``, ``right`` apart; ties by the text."""
    ranked = heapq.nsmallest(count, {(abs(other - rarity), text) for text, other in others if text != right})
    return [text for _, text in ranked]


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
