"""Sequences of somebody's own text, to measure models on."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ream.calibration.chat import ChatTemplate
from ream.calibration.corpus import read_corpus
from ream.calibration.document import Document
from ream.calibration.parts import Part, row_is_held_out
from ream.calibration.sources import TextSource, iter_texts
from ream.calibration.tokenizer import Encoder
from ream.errors import UserError
from ream.evaluation.windows import Windows, held_out_windows
from ream.params import BuiltinSource, TokensSource

SHORTEST = 2  # tokens of a sequence: one predicts nothing
FEWEST = 2  # windows of a loss: one has no standard error
HELD_OUT = Part("held-out")


def text_sequences(
    name: str, source: TextSource, encoder: Encoder, chat: ChatTemplate, tokens: int, sequences: int
) -> list[list[int]]:
    """The first sequences of a source's held-out text, in windows, each document behind the other.

    Args:
        name: of the text, for messages.
        source: where it is.
        encoder: the tokenizer.
        chat: the model's chat template, for conversations.
        tokens: the most of a sequence.
        sequences: the most that are returned.

    Raises:
        UserError: the text cannot be read, or there is too little of it.
    """
    found = list(islice(windows(iter_texts(source, 0, HELD_OUT, chat.render), encoder, tokens), sequences))
    if not found:
        raise UserError(f"{name}: there is no text of {SHORTEST} tokens in what is held out; give another file")
    return found


def windows(documents: Iterable[Document], encoder: Encoder, tokens: int) -> Iterator[list[int]]:
    """Every document in windows one after the other, each with the tokens that the tokenizer adds to a text.

    Args:
        documents: the text.
        encoder: the tokenizer.
        tokens: of a window, at most. The last of a document is as long as it comes, if it has SHORTEST.
    """
    special = encoder.special
    room = tokens - len(special.before) - len(special.after)
    for document in documents:
        ids = encoder.plain(document.text)
        for start in range(0, len(ids), room):
            window = special.around(ids[start : start + room])
            if len(window) >= SHORTEST:
                yield window


def loss_windows(
    name: str,
    source: TextSource | TokensSource,
    encoder: Encoder,
    chat: ChatTemplate,
    end: int | None,
    sequences: int,
    tokens: int,
    seed: int,
) -> Windows:
    """The windows of an own text's held-out part, as many as it fills up to ``sequences``.

    Args:
        name: of the source.
        source: a source with ``held_out``.
        encoder: the tokenizer.
        chat: the model's chat template, for conversations.
        end: token id put after each document; None for none.
        sequences: the most windows.
        tokens: of a window.
        seed: orders the documents.

    Raises:
        UserError: the text cannot be read, or fills fewer than FEWEST windows.
    """
    if isinstance(source, TokensSource):
        rows = {str(number): ids for number, ids in enumerate(held_out_rows(source))}
        documents = [Document(number, number) for number in rows]
        return held_out_windows(rows.__getitem__, None, name, sequences, tokens, documents, (), FEWEST)
    assert not isinstance(source, BuiltinSource), "which has windows of its own"
    texts = iter_texts(source, seed, HELD_OUT, chat.render)
    return held_out_windows(encoder.plain, end, name, sequences, tokens, texts, encoder.special.before, FEWEST)


def held_out_rows(source: TokensSource) -> list[list[int]]:
    """The rows of own tokens that are held out; none where the source holds nothing out.

    Raises:
        UserError: see `read_corpus`.
    """
    corpus = read_corpus(Path(source.path)).select(source.source)
    return [ids for ids in corpus.sequences if row_is_held_out(ids, source.held_out)]
