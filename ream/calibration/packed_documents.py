"""Calibration sequences of packed documents: one behind the other with an end token between, cut into full sequences.

Base models are trained on such text, so it is what their experts know: beginnings and ends of documents, and what
follows an end token, are parts of it, and short documents count, too.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ream.calibration.document import Document
from ream.calibration.sampling import PATIENCE, Drawn, first_tokens
from ream.calibration.tokenizer import Encoder
from ream.errors import UserError
from ream.params import Calibration

LEAST_TOKENS = 8  # of a sequence, as `Calibration` has it


@dataclass(frozen=True)
class Packing:
    """How documents are joined.

    Attributes:
        encoder: the model's tokenizer; what it puts before a text stands before every sequence.
        end: ids behind every document that is no conversation.
        most: a document gives at most as many tokens as so many sequences have; None: all that it has.
    """

    encoder: Encoder
    end: tuple[int, ...]
    most: int | None = 1

    @property
    def before(self) -> tuple[int, ...]:
        """Ids with which every sequence begins."""
        return self.encoder.special.before

    def ids(self, document: Document, tokens: int) -> list[int]:
        """A document's own ids and those behind it; a conversation ends as its template ends it.

        Args:
            document: the text.
            tokens: of a sequence.
        """
        plain, text = self.encoder.plain, document.text
        own = plain(text) if self.most is None else first_tokens(text, self.most * tokens, plain)
        return own if document.chat else [*own, *self.end]


def packing_of(encoder: Encoder, separator: str | None, end: int | None, most: int | None) -> Packing:
    """The packing for a model.

    A document ends with the separator, if one is given; else with what the tokenizer itself puts behind a text, if that
    is anything; else with the end token.

    Args:
        encoder: the model's tokenizer.
        separator: a token of the tokenizer's vocabulary; None: see above.
        end: id of the model's end token, if it has one.
        most: of `Packing`.

    Raises:
        UserError: the tokenizer has no such token, or no separator is given and the model has no end token.
    """
    if separator is not None:
        found = encoder.id_of(separator)
        if found is None:
            raise UserError(
                f"the model's tokenizer has no token '{separator}'; set calibration.separator to one of its special "
                "tokens, or leave it out for the model's end token"
            )
        return Packing(encoder, (found,), most)
    if encoder.special.after:
        return Packing(encoder, encoder.special.after, most)
    if end is None:
        raise UserError(
            "documents cannot be packed: the model's config.json has no eos_token_id; set calibration.separator to the "
            "token that ends a document, or calibration.packing: false"
        )
    return Packing(encoder, (end,), most)


def draw_packed(
    documents: Iterable[Document],
    packing: Packing,
    calibration: Calibration,
    sequences: int | None = None,
    needed: int | None = None,
) -> Drawn:
    """The first ``sequences`` sequences of ``tokens`` tokens of documents that follow one another.

    No more documents are read than needed. What the last one has beyond the last sequence is left out, so that no
    document is in two draws from one iterator. Labels count documents here, since a sequence may have several.

    Args:
        documents: shuffled documents.
        packing: how they are joined.
        calibration: gives ``sequences`` and ``tokens``.
        sequences: maximum number of sequences instead of ``calibration.sequences``; with it, fewer are no error.
        needed: the least number of sequences; by default all, or none with ``sequences``.

    Raises:
        UserError: the documents end too early, or ``PATIENCE`` of them for each sequence wanted are not enough.
    """
    wanted = calibration.sequences if sequences is None else sequences
    room = calibration.tokens - len(packing.before)
    stream: list[int] = []
    labels: Counter[str] = Counter()
    lengths: list[int] = []  # of each document, with what is behind it
    if wanted:
        for document in documents:
            before = len(stream)
            stream += packing.ids(document, calibration.tokens)
            lengths.append(len(stream) - before)
            if document.label is not None:
                labels[document.label] += 1
            if len(stream) >= wanted * room or len(lengths) == PATIENCE * wanted:
                break
    full = min(wanted, len(stream) // room)
    drawn = [[*packing.before, *stream[start : start + room]] for start in range(0, full * room, room)]
    enough = (wanted if sequences is None else 0) if needed is None else needed
    if full < enough:
        fits = _fitting(lengths, packing, calibration.tokens, enough)
        raise UserError(
            f"{len(lengths)} documents, packed, fill {full} sequences of {calibration.tokens} tokens, but {enough} are "
            f"needed; lower {f'calibration.tokens to {fits} (then there are enough), ' if fits else ''}"
            "calibration.sequences, give the source more text, or let long documents give more of theirs (the source's "
            "`windows`)"
        )
    return Drawn(drawn, len(lengths), 0, dict(sorted(labels.items())))


def _fitting(lengths: list[int], packing: Packing, tokens: int, wanted: int) -> int | None:
    """The most tokens, fewer than these, with which documents of these lengths fill so many sequences; None if none.

    Shorter sequences also take less of a long document.
    """
    own = np.array(lengths)
    for fewer in range(tokens - 1, LEAST_TOKENS - 1, -1):
        most = np.inf if packing.most is None else packing.most * fewer + len(packing.end)
        if np.minimum(own, most).sum() >= wanted * (fewer - len(packing.before)):
            return fewer
    return None
