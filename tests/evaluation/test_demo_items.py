import json
import pydoc_data.topics
import random
import re

import pytest

from ream.calibration import builtin
from ream.calibration.builtin import Document, long_sentences
from ream.calibration.problems import Problem, split_of_question
from ream.evaluation import demo_code, demo_numbers, demo_prose
from ream.evaluation.choices import Rarity, nearest, with_distractors
from ream.evaluation.demo_items import TASKS, HeldOut, build_items
from ream.evaluation.held_out import seen_shingles, shingles

MC = ("demo_prose", "demo_code", "demo_result", "demo_word_problem")
NUMBERS = ("demo_result", "demo_word_problem", "demo_arithmetic", "demo_solution")


@pytest.fixture(scope="module")
def text():
    """Held-out code, and for prose the language topics: reading all documentation takes long."""
    topics = pydoc_data.topics.topics
    prose = [Document(key, "\n\n".join(builtin.prose(topics[key]))) for key in sorted(topics)]
    return HeldOut(0, {"general": prose, "code": list(builtin.documents("code", "held-out"))})


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("items")
    build_items(path, 0, text)
    return path


def rows(folder, task):
    return [json.loads(line) for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(folder, text, tmp_path):
    build_items(tmp_path / "same", 0, text)
    for task in TASKS:
        assert (folder / f"{task}.jsonl").read_bytes() == (tmp_path / "same" / f"{task}.jsonl").read_bytes()
    others = [task for task in TASKS if task != "demo_code"]  # slow
    build_items(tmp_path / "other", 1, text, others)
    for task in others:
        assert (folder / f"{task}.jsonl").read_bytes() != (tmp_path / "other" / f"{task}.jsonl").read_bytes()


@pytest.mark.parametrize("task", MC)
def test_four_different_choices_of_which_any_may_be_right(folder, task):
    items = rows(folder, task)
    assert all(len(set(item["choices"])) == 4 for item in items)
    assert {item["label"] for item in items} == {0, 1, 2, 3}
    assert all(
        choice[0].isspace() and not item["context"][-1].isspace() for item in items for choice in item["choices"]
    )


@pytest.mark.parametrize("task", NUMBERS)
def test_no_question_is_one_of_training(folder, task):
    questions = [re.match(r"Problem: (.*)\nSolution:", item["context"]).group(1) for item in rows(folder, task)]
    assert len(set(questions)) == len(questions) == TASKS[task][1]
    assert {split_of_question(question) for question in questions} == {"held-out"}


def test_no_code_item_shares_four_lines_with_training(folder):
    seen = seen_shingles()
    for item in rows(folder, "demo_code"):
        assert shingles(item["context"] + item["choices"][item["label"]]).isdisjoint(seen)


@pytest.mark.slow
def test_no_prose_item_shares_a_long_sentence_with_training(tmp_path):
    build_items(tmp_path, 0, tasks=["demo_prose", "demo_last_word"])
    seen = {s for document in builtin.documents("general", "train") for s in long_sentences(document.text)}
    for item in rows(tmp_path, "demo_prose"):
        assert long_sentences(item["context"] + item["choices"][item["label"]]).isdisjoint(seen)
    for item in rows(tmp_path, "demo_last_word"):
        assert long_sentences(f"{item['context']} {item['answer']}.").isdisjoint(seen)


def test_the_right_result_is_the_result(folder):
    for item in rows(folder, "demo_result"):
        a, sign, b = re.match(r"Problem: What is (\d+) ([-+*]) (\d+)\?", item["context"]).groups()
        result = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
        assert item["choices"][item["label"]] == f" {result}."
        assert len({len(choice) for choice in item["choices"]}) == 1


def test_a_last_word_has_followed_the_same_two_words_before(folder):
    items = rows(folder, "demo_last_word")
    assert items
    for item in items:
        assert f"{' '.join(item['context'].split(' ')[-2:])} {item['answer']}" in item["context"]


def test_prose_choices_have_six_words(folder):
    items = rows(folder, "demo_prose")
    assert len(items) == 32
    assert all(len(choice.split()) == 6 for item in items for choice in item["choices"])


def test_code_choices_are_indented_alike_and_the_context_ends_a_line(folder):
    for item in rows(folder, "demo_code"):
        assert item["context"][-1].isalnum()
        assert len({len(choice) - len(choice.lstrip("\n ")) for choice in item["choices"]}) == 1


def test_a_passage_is_cut_before_its_last_words():
    passage = demo_prose.Passage("d", "Before it. ", "One two three four five.")
    assert passage.cut(2) == ("Before it. One two three", "four five.")
    assert demo_prose.tail("a b\n\nc  d", 3) == "b\n\nc  d"


def test_passages_keep_all_text_before_them():
    document = Document("d", "First here. Second there.\n\nThird one.")
    found = [(p.before, p.sentence) for p in demo_prose.passages([document])]
    assert found == [
        ("", "First here."),
        ("First here. ", "Second there."),
        ("First here. Second there.\n\n", "Third one."),
    ]


def test_a_result_is_split_off_at_the_last_number():
    problem = Problem("Q?", "9 * 11 = 99 square cm.", 99)
    assert demo_numbers.split_result(problem) == ("Problem: Q?\nSolution: 9 * 11 =", "99", " square cm.")


def test_near_misses_by_hand():
    assert sorted(demo_numbers.near_misses(21)) == [11, 12, 19, 20, 22, 23, 31]
    assert min(demo_numbers.near_misses(1)) == 0


def test_assignments_ask_for_the_first_parameter(folder):
    for item in rows(folder, "demo_assignments"):
        signature = re.search(r"__init__\(self, (.*)\):", item["context"]).group(1).split(", ")
        assert item["context"].endswith(f"):\n        self.{signature[0]} =")
        assert item["parameters"] == signature[:1]


def test_identifiers_are_those_of_the_code():
    code = "class Box:\n    def put(self, item_name, ab, Count, size):\n        pass\n"
    assert list(demo_code._parameters(code)) == ["item_name", "size"]


def test_rarity_counts_documents_and_not_occurrences():
    # "x" is in 1 of 2 documents, "y" in both: -log(1.1/2) and -log(2.1/2); a sign costs 0.5 more
    rarity = Rarity(["x x x y", "y ."])
    assert rarity("x") == pytest.approx(0.597837, abs=1e-6)
    assert rarity("y") == pytest.approx(-0.048790, abs=1e-6)
    assert rarity("x.") == pytest.approx(2 * 0.597837 + 0.5, abs=1e-5)


def test_the_nearest_in_rarity_are_taken_and_the_right_one_is_not():
    others = [("a", 1.0), ("b", 2.0), ("c", 3.1), ("right", 2.0), ("a", 1.0)]
    assert nearest("right", others, 2.0, 2) == ["b", "a"]


def test_too_few_distractors_give_no_item():
    assert with_distractors("c", "r", ["r", "x", "y", "x"], random.Random(0)) is None
    item = with_distractors("c", "r", ["x", "y", "z"], random.Random(0), prefix=" ")
    assert sorted(item["choices"]) == [" r", " x", " y", " z"]
    assert item["choices"][item["label"]] == " r"
