import json

import pytest

from ream.errors import UserError
from ream.evaluation import demo_scoring
from ream.evaluation.demo_scoring import assigned, load_items

HEAD = "class A:\n\n    def __init__(self, a, b, c):\n        self.a = a"
ROW = {"context": HEAD, "parameters": ["b", "c"]}


def score(generated):
    return demo_scoring.assignments(ROW, [generated])["exact_match"]


@pytest.mark.parametrize(
    "generated",
    [
        "\n        self.b = b\n        self.c = c\n\n    def x",
        "\n        self.c = c\n        self.b: int = b\n        self.d = (",  # any order; the third line isn't read
    ],
)
def test_all_remaining_parameters_assigned(generated):
    assert score(generated) == 1


@pytest.mark.parametrize(
    "generated",
    [
        "",
        "\n        self.b = b",  # one is missing
        "\n        self.b = b\n        self.c = b",  # to another's value
        "\n        self.b = b\n        self._c = c",  # under another name
        "\n        self.b = b\n        c = c",  # not in self
        "\n        self.b = b\n\n        self.c = c",  # after an empty line
        "\n        self.b = b\n    self.c = c",  # less indented
        "\n        self.b = b\n        if c:\n            self.c = c",  # too late, and not a plain assignment
        "\n        self.b = b\n        self.c = (c",  # no Python
        "\n        self.b = b\n        self.c = c\0",  # not even text
        "x +\n        self.b = b\n        self.c = c",  # breaks the line before
    ],
)
def test_anything_else_is_wrong(generated):
    assert score(generated) == 0


def test_the_signature_may_be_left_to_the_model():
    head = "class A:\n\n    def __init__(self, a, b"
    assert assigned(head, "):\n        self.b = b\n        self.a = a\n        self.c = 1", 2) == {"a", "b"}
    assert assigned(head, ", c=None):\n        self.a = a\n    x = 1", 2) == {"a"}
    assert assigned(head, ")\n        self.a = a", 2) == set()
    assert assigned(head, "", 2) == set()


@pytest.mark.parametrize(
    ("generated", "right"), [(" size", 1), (" size or 1", 0), (" None", 0), (" sizes", 0), (" (size", 0), ("", 0)]
)
def test_the_value_of_an_assignment(generated, right):
    context = "class A:\n\n    def __init__(self, size, name):\n        self.size ="
    row = {"context": context, "parameters": ["size"]}
    assert demo_scoring.assignments(row, [generated]) == {"exact_match": right}


def test_only_the_last_constructor_counts():
    example = HEAD.replace("class A", "class Z") + "\n        self.b = b\n        self.c = c\n\n\n"
    assert assigned(example + HEAD, "\n        self.b = b\n        pass", 2) == {"a", "b"}


def test_generated_code_is_never_executed(tmp_path):
    target = tmp_path / "written"
    generated = f"\n        self.b = open({str(target)!r}, 'w').close()\n        self.c = c"
    assert score(generated) == 0
    assert assigned(HEAD, f"\n        __import__('pathlib').Path({str(target)!r}).touch()", 2) == {"a"}
    assert not target.exists()


@pytest.mark.parametrize(
    ("scorer", "generated", "right"),
    [
        ("number", " 46.\nAnswer", 1),
        ("number", " 460", 0),
        ("number", " so 46", 0),
        ("answer", " 40 + 6 = 46.\nAnswer: 46", 1),
        ("answer", " 40 + 6 = 46.", 0),
        ("answer", " 1.\nAnswer: 4\nAnswer: 46", 0),
        ("word", " value.", 0),
        ("word", " 46", 0),
    ],
)
def test_numbers_and_words_by_hand(scorer, generated, right):
    assert getattr(demo_scoring, scorer)({"answer": "46"}, [generated]) == {"exact_match": right}


def test_a_word_is_compared_whole():
    assert demo_scoring.word({"answer": "value"}, [" value of"]) == {"exact_match": 1}
    assert demo_scoring.word({"answer": "value"}, [" values"]) == {"exact_match": 0}


def test_items_are_read_from_their_folder(tmp_path):
    rows = [{"context": "a", "answer": "1"}, {"context": "ü", "answer": "2"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert load_items("t", str(tmp_path), version=1)["test"].to_list() == rows
    with pytest.raises(UserError, match="run the items stage"):
        load_items("other", str(tmp_path))
    with pytest.raises(UserError, match="--metadata"):
        load_items("t")
