"""Items of the prose tasks: how a sentence ends, and what the last word of a sentence is."""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ream.calibration.document import Document
from ream.evaluation.demo.choices import Rarity, in_order, nearest, with_distractors
from ream.evaluation.demo.rows import AnswerRow, ChoiceRow

SENTENCE_END = re.compile(r"(?<=[a-z`'\")][.!?]) (?=[A-Z`])")
RUNNING_TEXT = re.compile(r"[A-Za-z][A-Za-z ,'-]+[.!?]")
CONTEXT_WORDS = range(20, 36)
ENDING_WORDS = 6
OPENING_WORDS = 4
NEAREST = 20  # endings of similar rarity from which the distractors are drawn
ITEMS_PER_DOCUMENT = 2
LAST_WORD = re.compile(r"[A-Za-z]{4,12}")
LAST_WORD_AFTER = 2


@dataclass(frozen=True)
class Passage:
    """A sentence and the text before it.

    Attributes:
        document: id of the document that holds the sentence.
        before: all text of the document before the sentence.
        sentence: the sentence.
    """

    document: str
    before: str
    sentence: str

    def cut(self, words: int) -> tuple[str, str]:
        """The at most 35 words (CONTEXT_WORDS) before the sentence's last ``words`` words, and these."""
        parts = self.sentence.split(" ")
        context = f"{self.before}{' '.join(parts[:-words])}"
        return tail(context, CONTEXT_WORDS.stop - 1), " ".join(parts[-words:])


def passages(documents: Sequence[Document]) -> Iterator[Passage]:
    """Every sentence of the documents, with the text before it."""
    for document in documents:
        before = ""
        for paragraph in document.text.split("\n\n"):
            for sentence in SENTENCE_END.split(paragraph):
                yield Passage(document.id, before, sentence)
                before = f"{before}{sentence} "
            before = f"{before[:-1]}\n\n"


def prose_items(documents: Sequence[Document], seed: str, count: int) -> list[ChoiceRow]:
    """Multiple choice: the last six words of a sentence among the last six words of sentences of other documents.

    The distractors are drawn from the endings of similar rarity (`Rarity`).

    Args:
        documents: documents of the held-out split of ``general``.
        seed: picks items and distractors.
        count: maximum number of items.

    Returns:
        Rows whose choices begin with a space; at most ITEMS_PER_DOCUMENT come from one document.
    """
    rarity = Rarity(document.text for document in documents)
    candidates, pool = [], []
    for passage in passages(documents):
        if len(passage.sentence.split(" ")) < OPENING_WORDS + ENDING_WORDS:
            continue
        context, ending = passage.cut(ENDING_WORDS)
        if RUNNING_TEXT.fullmatch(ending) and len(context.split()) in CONTEXT_WORDS:
            candidates.append((passage.document, context, ending))
            pool.append((passage.document, ending, rarity(ending)))
    rows: list[ChoiceRow] = []
    used = defaultdict[str, int](int)
    for document, context, ending in in_order(candidates, seed, lambda item: item[1] + item[2]):
        if len(rows) == count:
            break
        if used[document] == ITEMS_PER_DOCUMENT:
            continue
        others = [(text, cost) for source, text, cost in pool if source != document]
        similar = nearest(ending, others, rarity(ending), NEAREST)
        row = with_distractors(context, ending, similar, random.Random(f"{seed}/{context}"), prefix=" ")
        if row is not None:
            rows.append(row)
            used[document] += 1
    return rows


def last_word_items(documents: Sequence[Document], seed: str, count: int) -> list[AnswerRow]:
    """Generation: the last word of a sentence, given the text before it, where that word has already occurred.

    After LAMBADA (Paperno et al. 2016): the passage tells the word, the sentence alone does not. In our items the word
    has occurred after the same LAST_WORD_AFTER words that stand before it at the end, so that a model of a few million
    parameters has a chance.

    Args:
        documents: documents of the held-out split of ``general``.
        seed: picks the items.
        count: maximum number of items.

    Returns:
        The rows; at most ITEMS_PER_DOCUMENT come from one document.
    """
    candidates = [
        passage for passage in passages(documents) if " " in passage.sentence and passage.sentence[-1] in ".!?"
    ]
    rows: list[AnswerRow] = []
    used = defaultdict[str, int](int)
    for passage in in_order(candidates, seed, lambda passage: passage.before + passage.sentence):
        if len(rows) == count:
            break
        context, last = passage.cut(1)
        phrase = " ".join([*context.split(" ")[-LAST_WORD_AFTER:], last[:-1]])
        if not LAST_WORD.fullmatch(last[:-1]) or len(context.split()) not in CONTEXT_WORDS:
            continue
        if used[passage.document] < ITEMS_PER_DOCUMENT and re.search(rf"\b{re.escape(phrase)}\b", context):
            rows.append({"context": context, "answer": last[:-1]})
            used[passage.document] += 1
    return rows


def tail(text: str, words: int) -> str:
    """The last ``words`` words of a text with the white space between them; the whole text if it has no more words."""
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    return text[starts[-words] :] if len(starts) > words else text
