"""Calibration sequences of packed documents."""

import itertools
from dataclasses import replace

import pytest

from ream.calibration.document import Document
from ream.calibration.packed_documents import Packing, draw_packed, packing_of
from ream.calibration.special_tokens import SpecialTokens
from ream.calibration.tokenizer import Encoder
from ream.errors import UserError
from ream.params import Calibration

END = 99


def words(text):
    """One token a word: its length."""
    return [len(word) for word in text.split()]


def encoder(before=(), after=()):
    return Encoder(words, SpecialTokens(before, after), "", {"<end>": 7}.get)


def document(count, word="abc", label=None):
    return Document("x", " ".join([word] * count), label)


def settings(sequences, tokens=10):
    return Calibration(sequences=sequences, tokens=tokens, packing=True)


def test_by_hand():
    """Short documents count, a long one gives one sequence's worth, and what the last has beyond is left out."""
    source = iter([document(3, "a"), document(40, "ab"), document(4, "abc"), document(9, "abcd"), document(12)])
    drawn = draw_packed(source, Packing(encoder(), (END,)), settings(2))
    assert drawn.sequences == [[1, 1, 1, END, *[2] * 6], [2, 2, 2, 2, END, 3, 3, 3, 3, END]]
    assert (drawn.documents_read, drawn.documents_too_short, drawn.tokens) == (3, 0, 20)
    assert next(source) == document(9, "abcd"), "no more documents are read than needed"


def test_every_sequence_begins_as_the_tokenizer_begins_a_text():
    drawn = draw_packed(iter([document(6, "a"), document(8, "ab")]), Packing(encoder((1000,)), (END,)), settings(2, 8))
    assert drawn.sequences == [[1000, *[1] * 6, END], [1000, *[2] * 7]]


def test_two_draws_from_one_iterator_share_no_document():
    source = iter([document(9, "a"), document(9, "ab"), document(9, "abc"), document(9, "abcd")])
    packing = Packing(encoder(), (END,))
    first, second = draw_packed(source, packing, settings(1, 12)), draw_packed(source, packing, settings(1, 12))
    assert {*first.sequences[0]} == {1, 2, END}
    assert {*second.sequences[0]} == {3, 4, END}


@pytest.mark.parametrize(("most", "tokens"), [(1, 10), (2, 20), (None, 25)])
def test_a_document_gives_what_windows_say(most, tokens):
    assert Packing(encoder(), (END,), most).ids(document(25), 10) == [3] * tokens + [END]


def test_a_conversation_ends_as_its_template_ends_it():
    source = iter([replace(document(4, "a"), chat=True), document(4, "ab"), document(9)])
    assert draw_packed(source, Packing(encoder(), (END,)), settings(1)).sequences == [[1] * 4 + [2] * 4 + [END, 3]]


def test_labels_count_documents():
    source = iter([document(5, label="a"), document(5, label="b"), document(30, label="a"), document(9, label="c")])
    assert draw_packed(source, Packing(encoder(), (END,)), settings(2)).labels == {"a": 2, "b": 1}


def test_too_little_text():
    packing = Packing(encoder(), (END,))
    message = (
        r"^2 documents, packed, fill 1 sequences of 10 tokens, but 2 are needed; lower calibration\.tokens to 9 \(then "
        r"there are enough\), calibration\.sequences, give"
    )
    with pytest.raises(UserError, match=message):
        draw_packed(iter([document(8), document(9)]), packing, settings(2))
    assert len(draw_packed(iter([document(8), document(9)]), packing, settings(2, 9)).sequences) == 2, "as it says"
    few = draw_packed(iter([document(8), document(9)]), packing, settings(9), sequences=5)
    assert len(few.sequences) == 1, "fewer are no error where a number is given"
    assert draw_packed(iter([document(8)]), packing, settings(9), sequences=0).documents_read == 0
    with pytest.raises(UserError, match=r"fill 1 sequences of 10 tokens, but 3 are needed"):
        draw_packed(iter([document(8), document(9)]), packing, settings(9), sequences=5, needed=3)


@pytest.mark.parametrize("before", [(), (1000,)])
@pytest.mark.parametrize("most", [1, 2, None])
def test_the_tokens_that_would_do(before, most):
    """The number in the message is the largest that works; shorter sequences take less of long documents."""
    packing = Packing(encoder(before), (END,), most)

    def sequences(tokens):
        documents = iter([document(50), document(9), document(30)])
        return draw_packed(documents, packing, settings(99, tokens), sequences=99).sequences

    for wanted in (2, 3, 4, 9):
        fits = [tokens for tokens in range(8, 60) if len(sequences(tokens)) >= wanted]
        number = f"calibration.tokens to {max(fits)} (then there are enough), " if fits else ""
        with pytest.raises(UserError) as refused:
            draw_packed(iter([document(50), document(9), document(30)]), packing, settings(wanted, 60))
        assert f"needed; lower {number}calibration.sequences" in str(refused.value)


def test_an_endless_source_of_empty_documents_ends():
    read = itertools.count()
    with pytest.raises(UserError, match=r"^1000 documents, packed, fill 0 sequences"):
        draw_packed((document(0) for _ in read), Packing(encoder(), ()), settings(1))
    assert next(read) == 1000


def test_what_ends_a_document():
    assert packing_of(encoder(), None, END, 1).end == (END,)
    assert packing_of(encoder(), "<end>", END, 1).end == (7,)
    assert packing_of(encoder(after=(5, 6)), None, END, 1).end == (5, 6), "the tokenizer's own"
    with pytest.raises(UserError, match=r"tokenizer has no token '<no>'; set calibration\.separator"):
        packing_of(encoder(), "<no>", END, 1)
    with pytest.raises(UserError, match=r"cannot be packed: the model's config\.json has no eos_token_id"):
        packing_of(encoder(), None, None, 1)
