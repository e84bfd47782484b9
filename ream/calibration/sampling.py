"""Calibration sequences drawn from documents: the first tokens of every document that is long enough."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from ream.calibration.document import Document
from ream.errors import UserError
from ream.params import Calibration

# Characters that are encoded first for each token wanted. A token has about 4 characters of English or 3 of code.
CHARS_PER_TOKEN = 32
# Documents read for each sequence wanted before a source, which may be endless, is given up.
PATIENCE = 1000


@dataclass(frozen=True)
class Drawn:
    """Sequences drawn from documents.

    Attributes:
        sequences: token ids of each sequence, in the order of the documents.
        documents_read: number of documents read.
        documents_too_short: number of those that gave no sequence.
    """

    sequences: list[list[int]]
    documents_read: int
    documents_too_short: int

    @property
    def tokens(self) -> int:
        """Number of tokens of all sequences together."""
        return sum(map(len, self.sequences))


def draw(
    documents: Iterable[Document],
    encode: Callable[[str], list[int]],
    calibration: Calibration,
    sequences: int | None = None,
) -> Drawn:
    """The first ``tokens`` tokens of each of the first ``sequences`` documents that have ceil(fill · tokens) or more.

    No more documents are read than needed, so the source may be endless.

    Args:
        documents: shuffled documents.
        encode: text to token ids, with the special tokens that every sequence is to have.
        calibration: gives ``sequences``, ``tokens`` and ``fill``.
        sequences: maximum number of sequences instead of ``calibration.sequences``; with it, fewer are no error.

    Raises:
        UserError: the documents end too early, or fewer than one in ``PATIENCE`` is long enough; the message says how
            many were and which setting to lower. Not raised if ``sequences`` is given.
    """
    # fill as a decimal fraction: 0.55 · 100 is 55.000000000000007 in floating point, whose ceiling is 56.
    least = math.ceil(Fraction(str(calibration.fill)) * calibration.tokens)
    drawn: list[list[int]] = []
    wanted, read = calibration.sequences if sequences is None else sequences, 0
    if not wanted:
        return Drawn(drawn, read, read)
    for document in documents:
        read += 1
        ids = first_tokens(document.text, calibration.tokens, encode)
        if len(ids) >= least:
            drawn.append(ids)
        if len(drawn) == wanted:
            return Drawn(drawn, read, read - len(drawn))
        if read == PATIENCE * wanted:
            break
    if sequences is not None:
        return Drawn(drawn, read, read - len(drawn))
    raise UserError(
        f"{len(drawn)} of {read} documents have at least {least} tokens, but {wanted} are needed; "
        "lower calibration.sequences, calibration.tokens or calibration.fill, or give the source more text"
    )


def first_tokens(text: str, tokens: int, encode: Callable[[str], list[int]]) -> list[int]:
    """The first ``tokens`` tokens of a text, without encoding all of a long text.

    A cut changes the tokens near it. The beginning that is encoded must therefore give at least twice the tokens
    wanted, of which only the first half is kept; if it gives fewer, four times as much text is encoded (a table padded
    with spaces has a hundred characters a token). The result equals ``encode(text)[:tokens]`` if a cut changes no token
    more than ``tokens`` tokens before it.
    """
    limit = tokens * CHARS_PER_TOKEN
    while limit < len(text):
        ids = encode(text[:limit])
        if len(ids) >= 2 * tokens:
            return ids[:tokens]
        limit *= 4
    return encode(text)[:tokens]
