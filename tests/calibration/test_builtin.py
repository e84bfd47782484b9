import hashlib
import itertools

import pytest

from ream.calibration import installation
from ream.calibration.builtin import MAX_CHARS, MIN_CHARS, documents, pieces
from ream.calibration.document import SPLITS
from ream.calibration.sources import iter_texts, resolved_revision
from ream.params import BuiltinSource
from tests.calibration.conftest import WORDS


@pytest.fixture(scope="module")
def stdlib():
    """The files of source ``code``, listed once."""
    return installation.code_files()


@pytest.fixture(autouse=True)
def _stdlib(stdlib, monkeypatch):
    monkeypatch.setattr(installation, "code_files", lambda: list(stdlib))


def texts(name, split, seed=0, count=None):
    return [document.text for document in itertools.islice(documents(name, split, seed), count)]


def test_code_splits_share_no_document():
    of = {split: set(texts("code", split)) for split in SPLITS}
    assert all(len(documents) > 100 for documents in of.values())
    for one, other in itertools.combinations(SPLITS, 2):
        assert not of[one] & of[other]


def test_math_splits_share_no_document():
    of = {split: set(texts("math", split, count=300)) for split in SPLITS}
    assert all(len(documents) == 300 for documents in of.values())
    for one, other in itertools.combinations(SPLITS, 2):
        assert not of[one] & of[other]


def test_general_splits_are_those_of_the_files(monkeypatch):
    paragraphs = [
        f"Page {i} says that the {WORDS[i % 18]} is what the {WORDS[i % 7]} needs, {'and ' * 90}so." for i in range(300)
    ]
    pages = [(f"page/{i}", text) for i, text in enumerate(paragraphs)]
    monkeypatch.setattr(installation, "documentation_files", lambda: list(pages))
    seen = {}
    for split in SPLITS:
        for text in texts("general", split, seed=3):
            for paragraph in text.split("\n\n"):
                assert paragraph not in seen
                seen[paragraph] = split
    for paragraph, split in seen.items():  # METHOD of the split, written again: first 4 bytes of SHA-256, modulo 10
        bucket = int(hashlib.sha256(paragraph.encode()).hexdigest()[:8], 16) % 10
        assert split == {0: "held-out", 1: "calibration"}.get(bucket, "train")
    # All but what is left at each split's end, which is too short for a document (4 pages at most).
    assert set(seen) <= set(paragraphs)
    assert len(seen) >= 300 - 3 * 4


@pytest.mark.parametrize("name", ["math", "code"])
def test_documents_follow_the_seed(name):
    source = BuiltinSource(kind="builtin", name=name)
    first, again, other = (
        [document.text for document in itertools.islice(iter_texts(source, seed), 5)] for seed in (1, 1, 2)
    )
    assert first == again == texts(name, "calibration", seed=1, count=5)
    assert first != other
    assert resolved_revision(source) is None


COPIED = "Get the parameters of this estimator and of its parts, if there are any."


def test_a_paragraph_of_a_training_file_is_left_out_of_the_other_splits(monkeypatch):
    """Every page has its own paragraph and one that all pages share, which may be in one split only."""
    paragraphs = [f"Page {i} is about the {WORDS[i % 18]}, {'and ' * 400}that is all." for i in range(150)]
    pages = [(f"page/{i}", f"{COPIED}\n\n{text}") for i, text in enumerate(paragraphs)]
    monkeypatch.setattr(installation, "documentation_files", lambda: list(pages))
    by_split = {split: "\n\n".join(texts("general", split)).split("\n\n") for split in SPLITS}
    assert COPIED in by_split["train"]
    assert all(len(by_split[split]) >= 3 for split in SPLITS), "every split has pages"
    assert COPIED not in by_split["calibration"] + by_split["held-out"]


def test_pieces_end_at_boundaries_and_drop_a_short_rest():
    long, short = "a" * (MIN_CHARS - 10), "b" * 9
    # long alone is too short, with the next paragraph it is one character over the minimum; "b" is left and dropped
    assert pieces(f"{long}\n\n{short}\n\nb", at_definitions=False) == [f"{long}\n\n{short}"]
    assert pieces("short", at_definitions=False) == ["short"]
    functions = [f"def f{n}():\n{'    x = 1;' * 180}" for n in range(3)]
    assert pieces("\n".join(functions), at_definitions=True) == functions
    line = "c" * 999
    whole = "\n".join([line] * 5)  # 4999 characters without a boundary are cut at the last line end within the maximum
    assert pieces(whole, at_definitions=False) == ["\n".join([line] * (MAX_CHARS // 1000))]
    assert pieces("d" * (MAX_CHARS + MIN_CHARS), at_definitions=True) == ["d" * MAX_CHARS, "d" * MIN_CHARS]
