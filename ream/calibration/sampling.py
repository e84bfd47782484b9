"""Calibration sequences drawn from documents: the first tokens of every document that is long enough, or windows."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from ream.calibration.document import Document
from ream.calibration.special_tokens import SpecialTokens
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
        labels: label to the number of sequences of documents with it; {} where documents have none.
    """

    sequences: list[list[int]]
    documents_read: int
    documents_too_short: int
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Number of tokens of all sequences together."""
        return sum(map(len, self.sequences))


def draw(
    documents: Iterable[Document],
    encode: Callable[[str], list[int]],
    calibration: Calibration,
    sequences: int | None = None,
    windows: Callable[[str, int], Iterable[list[int]]] | None = None,
    needed: int | None = None,
) -> Drawn:
    """The first ``tokens`` tokens of each of the first ``sequences`` documents that have ceil(fill · tokens) or more.

    No more documents are read than needed, so the source may be endless.

    Args:
        documents: shuffled documents.
        encode: text to token ids, with the special tokens that every sequence is to have.
        calibration: gives ``sequences``, ``tokens`` and ``fill``.
        sequences: maximum number of sequences instead of ``calibration.sequences``; with it, fewer are no error.
        windows: gives the sequences of a text for a number of tokens, where a document may give several.
        needed: the least number of sequences; by default all, or none with ``sequences``.

    Raises:
        UserError: the documents end too early, or fewer than one in ``PATIENCE`` is long enough; the message says how
            many were and which setting to lower.
    """
    # fill as a decimal fraction: 0.55 · 100 is 55.000000000000007 in floating point, whose ceiling is 56.
    least = math.ceil(Fraction(str(calibration.fill)) * calibration.tokens)
    drawn: list[list[int]] = []
    labels: Counter[str] = Counter()
    wanted, read, short = calibration.sequences if sequences is None else sequences, 0, 0
    if not wanted:
        return Drawn(drawn, read, short)
    longest: list[int] = []  # tokens of the longest sequence of each document
    for document in documents:
        read += 1
        pieces: Iterable[list[int]] = (
            [first_tokens(document.text, calibration.tokens, encode)]
            if windows is None
            else windows(document.text, calibration.tokens)
        )
        pieces = list(pieces)
        longest.append(max(map(len, pieces), default=0))
        found = [ids for ids in pieces if len(ids) >= least][: wanted - len(drawn)]
        drawn += found
        short += not found
        if found and document.label is not None:
            labels[document.label] += len(found)
        if len(drawn) == wanted:
            return Drawn(drawn, read, short, dict(sorted(labels.items())))
        if read == PATIENCE * wanted:
            break
    enough = (wanted if sequences is None else 0) if needed is None else needed
    if len(drawn) >= enough:
        return Drawn(drawn, read, short, dict(sorted(labels.items())))
    raise UserError(_too_little(longest, len(drawn), enough, least, calibration, windows is not None))


def _too_little(
    longest: list[int], drawn: int, wanted: int, least: int, calibration: Calibration, windows: bool
) -> str:
    """What is said of too little text: what there is, and with how many tokens a sequence there is enough.

    Args:
        longest: tokens of the longest sequence of each document read.
        drawn: sequences that the documents gave.
        wanted: sequences needed.
        least: tokens that a sequence needs.
        calibration: the settings.
        windows: whether a document may give several sequences.
    """
    read = len(longest)
    had = (
        f"{read} documents give {drawn} sequences of at least {least} tokens"
        if windows
        else f"{drawn} of {read} documents have at least {least} tokens"
    )
    # A document gives a sequence of calibration.tokens if it fills that fraction of them.
    last = sorted(longest, reverse=True)[wanted - 1] if read >= wanted else 0
    fits = math.floor(last / Fraction(str(calibration.fill)))
    enough = f"calibration.tokens to {fits} (then there are enough)" if fits else "calibration.tokens"
    return (
        f"{had}, but {wanted} are needed; lower {enough}, calibration.sequences or calibration.fill, join short "
        "documents (calibration.packing: true), let long ones give several sequences (the source's `windows`), or give "
        "the source more text"
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


def windows_of(
    plain: Callable[[str], list[int]], special: SpecialTokens, most: int | None
) -> Callable[[str, int], Iterator[list[int]]]:
    """What cuts a text into sequences, one behind the other, as if each were a text of its own.

    Args:
        plain: text to token ids without special tokens.
        special: the tokens that every sequence is to have; those behind a text follow the last of its windows.
        most: sequences of a text; None: as many as it has.

    Returns:
        a function of a text and a number of tokens.
    """

    def windows(text: str, tokens: int) -> Iterator[list[int]]:
        """The windows of a text, each of ``tokens`` tokens but the last."""
        ids = plain(text)
        step = max(1, tokens - len(special.before))
        starts = range(0, max(len(ids), 1), step)
        for number, start in enumerate(starts):
            if number == most:
                return
            piece = [*special.before, *ids[start : start + step]]
            yield [*piece, *special.after][:tokens] if start == starts[-1] else piece

    return windows
