import itertools
import re

import pytest

from ream.calibration.document import Document
from ream.calibration.sampling import draw, first_tokens, windows_of
from ream.calibration.special_tokens import SpecialTokens
from ream.calibration.tokenizer import load_encoder
from ream.errors import UserError
from ream.params import Calibration
from tests.calibration.conftest import prose


def words(text):
    """One token a word: its length."""
    return [len(word) for word in text.split()]


def document(count, word="abc"):
    return Document("x", " ".join([word] * count))


def test_by_hand():
    # 10 tokens, 0.9 of them filled: 9 are enough. 8 and 3 words are too few, 40 words give 10, and the last isn't read.
    source = iter([document(8), document(9), document(40, "ab"), document(3), document(10, "a"), document(12)])
    drawn = draw(source, words, Calibration(sequences=3, tokens=10, fill=0.9))
    assert drawn.sequences == [[3] * 9, [2] * 10, [1] * 10]
    assert (drawn.documents_read, drawn.documents_too_short, drawn.tokens) == (5, 2, 29)
    assert next(source) == document(12)


def test_fill_is_a_decimal():
    # 0.55 · 100 is 55.000000000000007 in floating point: its ceiling would refuse 55 tokens.
    settings = Calibration(sequences=1, tokens=100, fill=0.55)
    assert draw(iter([document(54), document(55)]), words, settings).sequences == [[3] * 55]


def test_too_few_documents():
    source = iter([document(8), document(9), document(10)])
    with pytest.raises(
        UserError, match=r"^2 of 3 documents have at least 9 tokens, but 3 are needed; lower calibration\."
    ):
        draw(source, words, Calibration(sequences=3, tokens=10, fill=0.9))


def test_endless_source_of_short_documents_ends():
    read = itertools.count()
    source = (document(1) for _ in read)
    with pytest.raises(UserError, match=r"^0 of 2000 documents have at least 8 tokens, but 2 are needed"):
        draw(source, words, Calibration(sequences=2, tokens=8, fill=1.0))
    assert next(read) == 2000


def test_a_long_document_is_not_encoded_whole():
    lengths = []

    def encode(text):
        lengths.append(len(text))
        return words(text)

    assert first_tokens("ab abc " * 1_000_000, 16, encode) == [2, 3] * 8
    assert lengths == [16 * 32]


def test_sparse_beginning_is_read_on():
    # 5000 spaces a token: 32 characters a token aren't enough, nor 128; the result is still that of the whole text.
    lengths = []

    def encode(text):
        lengths.append(len(text))
        return [len(run) for run in re.findall(r"\s+|\S+", text)]

    text = (" " * 5000 + "word") * 100
    assert first_tokens(text, 10, encode) == [5000, 4] * 5
    assert lengths == [320, 1280, 5120, 20480, 81920]  # and not 500400
    assert first_tokens(" " * 900 + "word", 10, encode) == [900, 4]  # shorter than wanted: all of it


def test_a_cut_changes_nothing(tokenizer_folder):
    encode = load_encoder(str(tokenizer_folder), None, False).encode
    for text in (prose(1, 3000), "=" * 20_000, " " * 9000 + prose(2, 500), "\n\n\t x" * 4000, "é漢字🙂" * 3000):
        for tokens in (8, 33, 64):
            assert first_tokens(text, tokens, encode) == encode(text)[:tokens]


def numbers(text):
    """One token a word: its number."""
    return [int(word) for word in text.split()]


def book(count):
    return Document("book", " ".join(map(str, range(100, 100 + count))), "books")


def test_a_long_document_gives_windows():
    every = windows_of(numbers, SpecialTokens(), None)
    drawn = draw([book(34)], numbers, Calibration(sequences=3, tokens=10, fill=0.9), windows=every)
    assert drawn.sequences == [list(range(start, start + 10)) for start in (100, 110, 120)]
    assert (drawn.documents_read, drawn.documents_too_short, drawn.labels) == (1, 0, {"books": 3})
    # The last 4 words are too few; two windows a document at most.
    with pytest.raises(UserError, match="1 documents give 3 sequences of at least 9 tokens, but 4 are needed"):
        draw([book(34)], numbers, Calibration(sequences=4, tokens=10, fill=0.9), windows=every)
    two = windows_of(numbers, SpecialTokens(), 2)
    drawn = draw([book(34), book(8), book(34)], numbers, Calibration(sequences=4, tokens=10, fill=0.9), windows=two)
    assert [ids[0] for ids in drawn.sequences] == [100, 110, 100, 110]
    assert drawn.documents_too_short == 1


def test_an_error_says_with_how_many_tokens_there_are_enough():
    documents, every = [book(count) for count in (14, 3, 9, 12)], windows_of(numbers, SpecialTokens(), None)
    for windows in (None, every):
        with pytest.raises(
            UserError, match=r"but 3 are needed; lower calibration\.tokens to 10 \(then there are enough\)"
        ):
            draw(documents, numbers, Calibration(sequences=3, tokens=20, fill=0.9), windows=windows)
        lower = Calibration(sequences=3, tokens=10, fill=0.9)
        assert len(draw(documents, numbers, lower, windows=windows).sequences) == 3
    with pytest.raises(UserError, match=r"but 5 are needed; lower calibration\.tokens, calibration\.sequences"):
        draw(documents, numbers, Calibration(sequences=5, tokens=20, fill=0.9))


def test_every_window_has_the_special_tokens():
    windows = windows_of(numbers, SpecialTokens((1,), (2,)), None)
    assert list(windows(book(7).text, 5)) == [[1, 100, 101, 102, 103], [1, 104, 105, 106, 2]]
    assert list(windows(book(8).text, 5)) == [[1, 100, 101, 102, 103], [1, 104, 105, 106, 107]]
    assert list(windows("", 5)) == [[1, 2]]


def test_the_first_window_is_what_a_document_gives_otherwise(tokenizer_folder):
    encoder = load_encoder(str(tokenizer_folder), None, False)
    windows = windows_of(encoder.plain, encoder.special, None)
    for text in (prose(seed, 60) for seed in range(4)):
        for tokens in (8, 21, 64):
            assert next(windows(text, tokens)) == encoder.encode(text)[:tokens]
