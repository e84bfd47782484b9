"""Drawing sequences of tokens from documents: one a document, its beginning, where the document is long enough."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from ream.calibration.document import Document
from ream.errors import UserError
from ream.params import Calibration

# Characters encoded at first for each token wanted. English has about 4 in a token and code about 3.
CHARS_PER_TOKEN = 32
# Documents read for each sequence wanted before a source, which may be endless, is given up.
PATIENCE = 1000


@dataclass(frozen=True)
class Drawn:
    """The sequences, in the order of their documents, and what it took to get them."""

    sequences: list[list[int]]
    documents_read: int
    documents_too_short: int

    @property
    def tokens(self) -> int:
        """Tokens of all sequences together."""
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
        documents: in the order to draw them, already shuffled.
        encode: text to token ids, without special tokens.
        calibration: sequences, tokens and fill.
        sequences: how many are wanted if not that, and fewer will do.

    Raises:
        UserError: the documents of a calibration end first, or fewer than one in ``PATIENCE`` is long enough; says how
            many were and what to lower.
    """
    # As a decimal: 0.55 · 100 is 55.000000000000007 in floating point, and its ceiling 56.
    least = math.ceil(Fraction(str(calibration.fill)) * calibration.tokens)
    found: list[list[int]] = []
    wanted, read = calibration.sequences if sequences is None else sequences, 0
    if not wanted:
        return Drawn(found, read, read)
    for document in documents:
        read += 1
        ids = first_tokens(document.text, calibration.tokens, encode)
        if len(ids) >= least:
            found.append(ids)
        if len(found) == wanted:
            return Drawn(found, read, read - len(found))
        if read == PATIENCE * wanted:
            break
    if sequences is not None:
        return Drawn(found, read, read - len(found))
    raise UserError(
        f"{len(found)} of {read} documents have at least {least} tokens, and {wanted} are needed; "
        "lower calibration.sequences, calibration.tokens or calibration.fill, or give the source more text"
    )


def first_tokens(text: str, tokens: int, encode: Callable[[str], list[int]]) -> list[int]:
    """The first ``tokens`` tokens of the text's encoding, without encoding all of a long text.

    A cut changes the tokens near it, so a cut text must give twice the tokens wanted, of which the later half is
    dropped; otherwise (a table padded with spaces: a hundred characters a token) four times as much is encoded. Equal
    to ``encode(text)[:tokens]`` wherever a cut changes nothing more than ``tokens`` tokens before it.
    """
    limit = tokens * CHARS_PER_TOKEN
    while limit < len(text):
        ids = encode(text[:limit])
        if len(ids) >= 2 * tokens:
            return ids[:tokens]
        limit *= 4
    return encode(text)[:tokens]
