"""The hashes of the sentences of files: found once, kept, and never those of another file or of other code."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ream.calibration import installation, known_sentences
from ream.calibration.builtin import documents
from ream.calibration.document import SPLITS
from ream.calibration.known_sentences import FILE, KnownSentences, hashes_of
from ream.calibration.prose import long_sentences
from tests.calibration.conftest import WORDS

FIRST = b"A sentence that is long enough to be looked at. Another one that is long enough, too, and differs."
SECOND = b"Yet another sentence, of another file, that is long enough."


@pytest.fixture
def looked(monkeypatch):
    """The texts that are split into sentences."""
    texts = []
    monkeypatch.setattr(known_sentences, "long_sentences", lambda text: texts.append(text) or long_sentences(text))
    return texts


def test_hashes_are_those_of_the_sentences():
    both = hashes_of(f"{FIRST.decode()} {SECOND.decode()}")
    assert sorted(both) == sorted([*hashes_of(FIRST.decode()), *hashes_of(SECOND.decode())])
    assert len(set(both.tolist())) == 3
    assert hashes_of("Too short.").tolist() == []
    assert len(hashes_of("A lone surrogate \ud800 in a docstring is a sentence like any other.")) == 1


def test_what_is_known_is_kept_for_other_processes(tmp_path, looked):
    first = KnownSentences(tmp_path / "caches")
    own = [first.of(data).tolist() for data in (FIRST, SECOND, b"", FIRST)]
    assert len(looked) == 3, "each file once"
    first.save()
    looked.clear()
    again = KnownSentences(tmp_path / "caches")
    assert [again.of(data).tolist() for data in (FIRST, SECOND, b"", FIRST)] == own
    assert looked == []
    again.of(FIRST + SECOND)
    again.save()
    assert len(looked) == 1
    assert KnownSentences(tmp_path / "caches").of(SECOND).tolist() == own[1], "what was kept before stays"
    assert len(looked) == 1


def test_other_code_and_broken_files_are_looked_at_anew(tmp_path, looked, monkeypatch):
    first = KnownSentences(tmp_path)
    right = first.of(FIRST).tolist()
    first.save()
    monkeypatch.setattr(known_sentences, "made_by", lambda: "other code")
    assert KnownSentences(tmp_path).of(FIRST).tolist() == right
    assert len(looked) == 2
    (tmp_path / FILE).write_bytes(b"broken")
    broken = KnownSentences(tmp_path)
    assert broken.of(FIRST).tolist() == right
    assert len(looked) == 3
    broken.save()
    assert KnownSentences(tmp_path).of(FIRST).tolist() == right
    assert len(looked) == 3
    columns = {"files": np.zeros((3, 32), np.uint8), "counts": np.array([1, 1]), "hashes": np.zeros(2, np.int64)}
    save_file(columns, tmp_path / FILE, metadata={"made_by": "other code"})
    assert KnownSentences(tmp_path).of(FIRST).tolist() == right
    assert len(looked) == 4, "columns that do not belong together"


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    known = KnownSentences(tmp_path / "file")
    assert len(known.of(FIRST)) == 2
    known.save()


def test_files_that_are_not_in_use_are_dropped_when_there_are_too_many(tmp_path, looked, monkeypatch):
    first = KnownSentences(tmp_path)
    first.of(FIRST)
    first.save()
    monkeypatch.setattr(known_sentences, "KEPT", 2)
    second = KnownSentences(tmp_path)
    second.of(SECOND)
    second.save()
    looked.clear()
    third = KnownSentences(tmp_path)
    third.of(SECOND)
    assert looked == []
    third.of(FIRST)
    assert len(looked) == 1


def test_general_text_is_the_same_with_what_is_known(tmp_path, looked, monkeypatch):
    shared = "Get the parameters of this estimator and of its parts, if there are any."
    pages = [(f"page/{i}", f"{shared}\n\nA page of the {WORDS[i % 18]}, {i}, {'and ' * 400}so.") for i in range(80)]
    monkeypatch.setattr(installation, "documentation_files", lambda: list(pages))
    drawn = []
    for _ in range(2):
        known = KnownSentences(tmp_path)
        monkeypatch.setattr("ream.calibration.builtin.known_sentences", lambda known=known: known)
        drawn.append({split: [document.text for document in documents("general", split)] for split in SPLITS})
        files = {text for _, text in pages} & set(looked)
        assert bool(files) == (len(drawn) == 1)
        looked.clear()
    assert drawn[0] == drawn[1]
    assert all(drawn[0].values())
    assert not any(shared in text for split in SPLITS[1:] for text in drawn[0][split])


def test_counts_follow_the_files(tmp_path):
    known = KnownSentences(tmp_path)
    files = [b"", FIRST, b"short", SECOND, b"brief"]
    found = [known.of(data) for data in files]
    known.save()
    kept = KnownSentences(tmp_path)._kept
    assert [kept[key].tolist() for key in known._used] == [hashes.tolist() for hashes in found]
    assert all(hashes.dtype == np.int64 for hashes in kept.values())
