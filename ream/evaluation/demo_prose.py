"""Items of the prose tasks: which sentence continues a passage, and what its last word is."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ream.calibration.builtin import Document
from ream.evaluation.choices import with_distractors

SENTENCE_END = re.compile(r"(?<=[a-z`'\")][.!?]) (?=[A-Z`])")
CONTEXT_WORDS = 60
CONTINUATION_WORDS = range(10, 21)
LENGTH_TOLERANCE = 0.15
LAST_WORD = re.compile(r"[a-z]{5,12}")
LAST_WORD_CONTEXT = range(25, 61)


@dataclass(frozen=True)
class Passage:
    """Running text and the sentence of the same paragraph that follows it."""

    document: str
    context: str
    continuation: str


def passages(documents: Sequence[Document]) -> Iterator[Passage]:
    """Every sentence that has one before it in its paragraph, with the text before it back to the document's start."""
    for document in documents:
        before = ""
        for paragraph in document.text.split("\n\n"):
            sentences = SENTENCE_END.split(paragraph)
            context = f"{before}\n\n" if before else ""
            for sentence, following in zip(sentences, sentences[1:], strict=False):
                context = f"{context}{sentence}"
                yield Passage(document.id, context, following)
                context = f"{context} "
            before = f"{before}\n\n{paragraph}" if before else paragraph


def prose_items(documents: Sequence[Document], draw: random.Random, count: int) -> list[dict]:
    """Multiple choice: the sentence that follows a passage, among sentences of other documents of the same length.

    The passage is the last CONTEXT_WORDS words, at most one item comes from a document, and a distractor has the length
    of the right sentence in characters up to LENGTH_TOLERANCE, because the sum of log-likelihoods favours short ones.

    Returns:
        Up to ``count`` rows {context, choices: four, each with its leading space, label: index of the right one}.
    """
    found = [passage for passage in passages(documents) if len(passage.continuation.split()) in CONTINUATION_WORDS]
    pool = [(passage.document, passage.continuation) for passage in found]
    draw.shuffle(found)
    rows, used = [], set[str]()
    for passage in found:
        if passage.document in used or len(passage.context.split()) < CONTEXT_WORDS:
            continue
        right = passage.continuation
        spread = LENGTH_TOLERANCE * len(right)
        others = [text for source, text in pool if source != passage.document and abs(len(text) - len(right)) <= spread]
        row = with_distractors(tail(passage.context, CONTEXT_WORDS), right, others, draw, prefix=" ")
        if row is not None:
            rows.append(row)
            used.add(passage.document)
        if len(rows) == count:
            break
    return rows


def last_word_items(documents: Sequence[Document], draw: random.Random, count: int) -> list[dict]:
    """Generation: the last word of a sentence, given the text before it, in which that word has occurred already.

    After LAMBADA (Paperno et al. 2016): the word can be told from the passage rather than from its sentence alone. Here
    it must have occurred after the same word as at the end, so that a model of a few million parameters has a chance.

    Returns:
        Up to ``count`` rows {context, answer}; at most one from a document.
    """
    found = [passage for passage in passages(documents) if passage.continuation[-1] in ".!?"]
    draw.shuffle(found)
    rows, used = [], set[str]()
    for passage in found:
        words = f"{passage.context} {passage.continuation[:-1]}".split(" ")
        context = tail(" ".join(words[:-1]), LAST_WORD_CONTEXT.stop - 1)
        if passage.document in used or not LAST_WORD.fullmatch(words[-1]):
            continue
        if len(context.split()) in LAST_WORD_CONTEXT and f" {words[-2]} {words[-1]}" in context:
            rows.append({"context": context, "answer": words[-1]})
            used.add(passage.document)
        if len(rows) == count:
            break
    return rows


def tail(text: str, words: int) -> str:
    """The last so many words of a text, with the white space between them as it is."""
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    return text[starts[-words] :] if len(starts) > words else text
