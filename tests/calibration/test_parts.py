"""Calibration text and held-out text: always the same two parts, which share nothing and are together the whole."""

import hashlib
import json
import random

import pytest

from ream.calibration import local_files
from ream.calibration.document import Document
from ream.calibration.parts import UNIT, Part, highest_rank, passages, rank
from ream.calibration.sources import iter_texts
from ream.errors import UserError
from ream.params import FilesSource, HubSource

CALIBRATION, HELD_OUT = Part("calibration", 512), Part("held-out")


def words(seed, count):
    generator = random.Random(seed)
    text = [f"{generator.randrange(10**6)}" + ("\n\n" if generator.random() < 0.02 else "") for _ in range(count)]
    return " ".join(text)


def source(*paths, **settings):
    return FilesSource(kind="files", paths=[str(path) for path in paths], **({"held_out": 0.1} | settings))


def texts(source, part, seed=0):
    return [document.text for document in iter_texts(source, seed, part)]


@pytest.fixture
def notes(tmp_path):
    """40 short notes."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.md").write_text(words(number, 30))
    return folder


@pytest.fixture
def book(tmp_path):
    """A text of half a million characters."""
    (tmp_path / "book.txt").write_text(words("book", 75_000))
    return tmp_path / "book.txt"


def test_a_rank_is_the_first_eight_bytes_of_the_sha_256_of_the_text_without_its_white_space():
    digest = hashlib.sha256("ä text".encode()).hexdigest()
    assert rank(" ä text\n") == int(digest[:16], 16) / 2**64


def test_short_documents_are_in_one_part_or_the_other_by_their_text(notes):
    everything = [path.read_text() for path in notes.iterdir()]
    held_out = {
        text for text in everything if int(hashlib.sha256(text.strip().encode()).hexdigest()[:16], 16) < 2**64 / 10
    }
    assert 0 < len(held_out) < 10
    for windows in (1, "all"):
        assert set(texts(source(notes, windows=windows), HELD_OUT)) == held_out
        assert set(texts(source(notes, windows=windows), CALIBRATION)) == {*everything} - held_out


def test_the_parts_are_the_same_for_every_seed_and_number_of_tokens(notes, book):
    both = source(notes, book, windows="all")
    assert sorted(texts(both, HELD_OUT, 1)) == sorted(texts(both, HELD_OUT, 2))
    assert "".join(sorted("".join(texts(both, CALIBRATION, 1)))) == "".join(
        sorted("".join(texts(both, Part("calibration", 4096), 2)))
    )


def test_equal_texts_are_in_one_part_wherever_they_stand(tmp_path):
    lines = [words(number, 20) for number in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines * 2))
    (tmp_path / "b.txt").write_text(f"  {lines[0]}\n")
    whole = source(tmp_path / "a.jsonl", tmp_path / "b.txt")
    one, two = ({text.strip() for text in texts(whole, part)} for part in (CALIBRATION, HELD_OUT))
    assert one | two == {*lines}
    assert not one & two


def test_a_long_document_is_divided_into_passages_that_are_together_the_whole(book):
    text = book.read_text()
    cut = passages(text)
    assert "".join(cut) == text
    assert all(UNIT <= len(passage) <= 1.5 * UNIT + 2 for passage in cut[:-1])
    held_out = [passage for passage in cut if rank(passage) < 0.1]
    assert 1 < len(held_out) < len(cut) / 4
    assert "".join(sorted("".join(texts(source(book, windows="all"), HELD_OUT)))) == "".join(sorted("".join(held_out)))
    calibration = texts(source(book, windows="all"), CALIBRATION)
    assert sum(map(len, calibration)) == len(text) - sum(map(len, held_out))
    assert all(piece in text for piece in calibration)
    for passage in held_out:
        assert not any(passage[:200] in piece for piece in calibration)


def test_pieces_of_a_long_document_come_in_a_seeded_order_and_grow_with_the_sequences(book, monkeypatch):
    whole = source(book, windows="all")
    text, calibration = book.read_text(), texts(whole, CALIBRATION)
    places = [text.index(piece) for piece in calibration]
    assert places != sorted(places)
    assert calibration == texts(whole, CALIBRATION) != texts(whole, CALIBRATION, seed=1)
    assert max(map(len, calibration)) <= 1.5 * 8 * 512 + 2
    assert max(map(len, texts(whole, Part("calibration", 8192)))) > 4 * UNIT


def test_a_text_that_grows_keeps_its_passages_but_the_last(book):
    before = passages(book.read_text())
    after = passages(book.read_text() + words("more", 9000))
    assert after[: len(before) - 1] == before[:-1]


def test_of_few_texts_the_one_of_the_lowest_rank_is_held_out(tmp_path):
    found = [words(number, 20) for number in range(200)]
    above = [text for text in found if rank(text) > 0.2][:3]
    for number, text in enumerate(above):
        (tmp_path / f"{number}.txt").write_text(text)
    assert texts(source(tmp_path), HELD_OUT) == [min(above, key=rank)]
    assert set(texts(source(tmp_path), CALIBRATION)) == {*above} - {min(above, key=rank)}
    below = [text for text in found if rank(text) < 0.1][:2]  # of which one is left to calibrate on
    documents = [Document(text, text) for text in below]
    assert highest_rank(documents, 0.1, cut=False) == (min(map(rank, below)), 2)


def test_a_single_short_text_cannot_be_divided(tmp_path):
    (tmp_path / "a.txt").write_text("too short")
    with pytest.raises(UserError, match=r"a\.txt: one text, which cannot be divided into .* of more than 16384 char"):
        texts(source(tmp_path / "a.txt", windows="all"), CALIBRATION)
    assert texts(source(tmp_path / "a.txt", windows="all"), HELD_OUT) == ["too short"]


def test_all_may_be_held_out_and_without_held_out_nothing_is_divided(notes):
    assert len(texts(source(notes, held_out=1), HELD_OUT)) == 40
    assert texts(source(notes, held_out=1), CALIBRATION) == []
    assert len(texts(source(notes, held_out=None), CALIBRATION)) == 40


def test_block_size_changes_no_part(notes, monkeypatch):
    before = [texts(source(notes), part) for part in (CALIBRATION, HELD_OUT)]
    monkeypatch.setattr(local_files, "BLOCK", 3)
    assert [texts(source(notes), part) for part in (CALIBRATION, HELD_OUT)] == before


def test_rows_of_a_data_set_are_divided_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    lines = [words(number, 20) for number in range(60)]
    (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    hub = HubSource(kind="hub", dataset=str(tmp_path / "set"), held_out=0.1)
    parts = [set(texts(hub, part)) for part in (CALIBRATION, HELD_OUT)]
    assert parts[1] == {line for line in lines if rank(line) < 0.1}
    assert parts[0] == {*lines} - parts[1]
