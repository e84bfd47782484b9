"""Text of one's own in two parts that never overlap: to calibrate on, and held out to measure on.

A part is decided by the text alone, not by a seed, a tokenizer or a number of tokens, so every command finds the same
two parts. Each piece has a rank in [0, 1), from its SHA-256, and is held out if the rank is below the source's
``held_out``. Equal texts are in one part, wherever they stand. Of few texts, none may be below; then the piece of the
lowest rank is held out. Text that is added later moves no piece from the calibration text to the held-out text.

A piece is a document or, in a source whose documents give several sequences (``windows: all``), a passage of it:
UNIT characters, up to the end of the paragraph. A conversation is one piece.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from ream.calibration.document import Document

UNIT = 8192  # characters of a passage, about 2000 tokens
CHARS_PER_TOKEN = 8  # twice those of English, so that a piece of calibration text has two sequences or so
Side = Literal["all", "calibration", "held-out"]
ENDS = ("\n\n", "\n", ". ", " ")  # where a passage may end, the best first


@dataclass(frozen=True)
class Part:
    """One of the parts of a source's text.

    Attributes:
        side: ``all`` is the text undivided, as a source without ``held_out`` has it.
        tokens: of a sequence; calibration text is given in pieces of about two. Not used of held-out text.
    """

    side: Side = "all"
    tokens: int = 512


WHOLE = Part()


def rank(text: str) -> float:
    """A number in [0, 1) that follows from a text, without the white space around it."""
    return int.from_bytes(hashlib.sha256(text.strip().encode("utf-8", "replace")).digest()[:8], "big") / 2**64


def row_is_held_out(ids: Iterable[int], held_out: float | None) -> bool:
    """Whether a row of own tokens is held out, by the rank of its ids in decimal with spaces between.

    Args:
        ids: token ids.
        held_out: the fraction that is; None: nothing.
    """
    return held_out is not None and rank(" ".join(map(str, ids))) < held_out


def passages(text: str, unit: int = UNIT) -> list[str]:
    """A text in passages of ``unit`` characters and what is left of a paragraph; joined, they are the text.

    A text that grows at its end keeps all passages but the last.
    """
    found: list[str] = []
    start = 0
    while len(text) - start > unit + unit // 2:
        end = _end(text, start + unit, start + unit + unit // 2)
        found.append(text[start:end])
        start = end
    return [*found, text[start:]]


def _end(text: str, least: int, most: int) -> int:
    """Where a passage ends, between two places."""
    for end in ENDS:
        if (place := text.find(end, least, most)) >= 0:
            return place + len(end)
    return most


def pieces(document: Document, cut: bool) -> list[str]:
    """The pieces of a document that are in one part or the other as wholes.

    Args:
        document: the text.
        cut: whether a long text is cut into passages.
    """
    return passages(document.text) if cut and not document.chat else [document.text]


def highest_rank(documents: Iterable[Document], held_out: float, cut: bool) -> tuple[float, int]:
    """The highest rank of a held-out piece: ``held_out``, unless no piece, or every piece, is below that.

    Then it is the lowest rank of all, or the highest but one. A single piece is held out.

    Args:
        documents: all of a source. They are read until a piece is held out and another is not.
        held_out: the fraction of the text that is held out; of 1 nothing is read.
        cut: see `pieces`.

    Returns:
        the rank, and the number of pieces read; below 2 the text cannot be divided.
    """
    if held_out == 1:
        return 1.0, 0
    ranks: set[float] = set()
    for document in documents:
        ranks |= {rank(piece) for piece in pieces(document, cut) if piece.strip()}
        if ranks and min(ranks) < held_out <= max(ranks):
            return held_out, len(ranks)
    ranked = sorted(ranks)
    if len(ranked) < 2:
        return 1.0, len(ranked)
    return (ranked[0] if ranked[0] >= held_out else ranked[-2]), len(ranked)


def of_part(document: Document, part: Part, highest: float, cut: bool) -> Iterator[Document]:
    """The text of a document that is in a part, as documents.

    Neighbouring passages are joined. Text to calibrate on is then cut into pieces of about two sequences, so that the
    sequences of a long document come from all of it.

    Args:
        document: the text.
        part: ``calibration`` or ``held-out``.
        highest: rank of a held-out piece (`highest_rank`).
        cut: see `pieces`.
    """
    numbered = [(rank(text) <= highest, text) for text in pieces(document, cut)]
    number = 0
    for held_out, group in groupby(numbered, key=lambda item: item[0]):
        run = "".join(text for _, text in group)
        if held_out == (part.side == "held-out"):
            calibrating = cut and not document.chat and part.side == "calibration"
            for text in passages(run, part.tokens * CHARS_PER_TOKEN) if calibrating else [run]:
                yield replace(document, id=f"{document.id}@{number}" if cut else document.id, text=text)
                number += 1
