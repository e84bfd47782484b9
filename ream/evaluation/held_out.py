"""Held-out documents of the built-in sources, without what other splits contain too."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ream.calibration import builtin
from ream.calibration.builtin import Document

LONG_SENTENCE = 40
SHINGLE_LINES = 4


def held_out_documents(name: str, seed: int = 0) -> Iterator[Document]:
    """Documents of a built-in source's held-out split that share no long sentence with the other splits.

    A source's split is decided a file at a time, but documentation repeats itself: about a fifth of the held-out
    paragraphs of ``general`` (inherited and copied docstrings) stand in files of other splits as well. Those paragraphs
    are left out. ``math`` splits by question, so it repeats nothing; ``code`` repeats under 2% of its lines and is left
    whole (`seen_shingles` tells what is repeated).

    Args:
        name: one of ``general``, ``math``, ``code``.
        seed: as in `ream.calibration.builtin.documents`. ``math`` never ends.
    """
    documents = builtin.documents(name, "held-out", seed)
    if name != "general":
        yield from documents
        return
    yield from without_seen(documents, _seen_sentences())


def without_seen(documents: Iterable[Document], seen: set[str]) -> Iterator[Document]:
    """The documents without the paragraphs that have a sentence in ``seen``; documents left empty are dropped."""
    for document in documents:
        kept = [paragraph for paragraph in document.text.split("\n\n") if seen.isdisjoint(long_sentences(paragraph))]
        if kept:
            yield Document(document.id, "\n\n".join(kept))


def long_sentences(text: str) -> set[str]:
    """Sentences of at least LONG_SENTENCE characters of prose or of Python source (its docstrings), spaces joined.

    Splitting the raw source is a superset of parsing it and reading its docstrings, and thirty times as fast.
    """
    parts = text.replace('"""', ". ").replace("'''", ". ").replace("\n\n", ". ")
    sentences = " ".join(parts.split()).split(". ")
    return {sentence.rstrip(".:!?") for sentence in sentences if len(sentence) >= LONG_SENTENCE}


def shingles(text: str) -> set[str]:
    """All runs of SHINGLE_LINES lines of code, blank lines and indentation apart."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return {"\n".join(lines[start : start + SHINGLE_LINES]) for start in range(len(lines) - SHINGLE_LINES + 1)}


def seen_shingles() -> set[str]:
    """The shingles of the train and calibration splits of ``code``."""
    splits = (builtin.documents("code", split) for split in ("train", "calibration"))
    return {shingle for documents in splits for document in documents for shingle in shingles(document.text)}


def _seen_sentences() -> set[str]:
    seen: set[str] = set()
    for _, file in builtin._general_files():
        data = file.read_bytes() if isinstance(file, Path) else file.encode("utf-8")
        if builtin.split_of(data) != "held-out":
            seen |= long_sentences(data.decode("utf-8", errors="replace"))
    return seen
