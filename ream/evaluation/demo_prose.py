"""Items of the prose tasks: how a sentence ends, and what its last word is."""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ream.calibration.builtin import Document
from ream.evaluation.choices import Rarity, in_order, nearest, with_distractors

SENTENCE_END = re.compile(r"(?<=[a-z`'\")][.!?]) (?=[A-Z`])")
RUNNING_TEXT = re.compile(r"[A-Za-z][A-Za-z ,'-]+[.!?]")
CONTEXT_WORDS = range(20, 36)
ENDING_WORDS = 6
OPENING_WORDS = 4
NEAREST = 20
LAST_WORD = re.compile(r"[A-Za-z]{4,12}")
LAST_WORD_AFTER = 2


@dataclass(frozen=True)
class Passage:
    """A sentence, and all text of its document before it."""

    document: str
    before: str
    sentence: str

    def cut(self, words: int) -> tuple[str, str]:
        """The passage up to the sentence's last ``words`` words, CONTEXT_WORDS long at most, and those words."""
        parts = self.sentence.split(" ")
        context = f"{self.before}{' '.join(parts[:-words])}"
        return tail(context, CONTEXT_WORDS.stop - 1), " ".join(parts[-words:])


def passages(documents: Sequence[Document]) -> Iterator[Passage]:
    """Every sentence of the documents."""
    for document in documents:
        before = ""
        for paragraph in document.text.split("\n\n"):
            for sentence in SENTENCE_END.split(paragraph):
                yield Passage(document.id, before, sentence)
                before = f"{before}{sentence} "
            before = f"{before[:-1]}\n\n"


def prose_items(documents: Sequence[Document], seed: str, count: int) -> list[dict]:
    """Multiple choice: the last six words of a sentence among the last six of sentences of other documents.

    The distractors are drawn from those whose words are about as rare (`Rarity`).

    Returns:
        Up to ``count`` rows {context, choices: four, each with its leading space, label: index of the right one}, at
        most two from a document.
    """
    rarity = Rarity(document.text for document in documents)
    found, pool = [], []
    for passage in passages(documents):
        if len(passage.sentence.split(" ")) < OPENING_WORDS + ENDING_WORDS:
            continue
        context, ending = passage.cut(ENDING_WORDS)
        if RUNNING_TEXT.fullmatch(ending) and len(context.split()) in CONTEXT_WORDS:
            found.append((passage.document, context, ending))
            pool.append((passage.document, ending, rarity(ending)))
    rows: list[dict] = []
    used = defaultdict[str, int](int)
    for document, context, ending in in_order(found, seed, lambda item: item[1] + item[2]):
        if len(rows) == count:
            break
        if used[document] == 2:
            continue
        others = [(text, cost) for source, text, cost in pool if source != document]
        alike = nearest(ending, others, rarity(ending), NEAREST)
        row = with_distractors(context, ending, alike, random.Random(f"{seed}/{context}"), prefix=" ")
        if row is not None:
            rows.append(row)
            used[document] += 1
    return rows


def last_word_items(documents: Sequence[Document], seed: str, count: int) -> list[dict]:
    """Generation: the last word of a sentence, given the text before it, in which that word has occurred already.

    After LAMBADA (Paperno et al. 2016): the word can be told from the passage rather than from its sentence alone. Here
    it has occurred after the same LAST_WORD_AFTER words as at the end, so that a model of a few million parameters has
    a chance.

    Returns:
        Up to ``count`` rows {context, answer}, at most two from a document.
    """
    found = [passage for passage in passages(documents) if " " in passage.sentence and passage.sentence[-1] in ".!?"]
    rows: list[dict] = []
    used = defaultdict[str, int](int)
    for passage in in_order(found, seed, lambda passage: passage.before + passage.sentence):
        if len(rows) == count:
            break
        context, last = passage.cut(1)
        phrase = " ".join([*context.split(" ")[-LAST_WORD_AFTER:], last[:-1]])
        if not LAST_WORD.fullmatch(last[:-1]) or len(context.split()) not in CONTEXT_WORDS:
            continue
        if used[passage.document] < 2 and re.search(rf"\b{re.escape(phrase)}\b", context):
            rows.append({"context": context, "answer": last[:-1]})
            used[passage.document] += 1
    return rows


def tail(text: str, words: int) -> str:
    """The last so many words of a text, with the white space between them as it is."""
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    return text[starts[-words] :] if len(starts) > words else text
