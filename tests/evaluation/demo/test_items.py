import json
import pydoc_data.topics
import re

import pytest

from ream.calibration import builtin
from ream.calibration.document import Document, split_of
from ream.calibration.prose import long_sentences, prose
from ream.evaluation.demo.held_out import seen_shingles, shingles
from ream.evaluation.demo.items import TASKS, HeldOut, build_items

MC = ("demo_prose", "demo_code", "demo_result", "demo_word_problem")
NUMBERS = ("demo_result", "demo_word_problem", "demo_arithmetic", "demo_solution")


@pytest.fixture(scope="module")
def text():
    """Held-out code, and for prose the language topics: reading all documentation takes long."""
    topics = pydoc_data.topics.topics
    pages = [Document(key, "\n\n".join(prose(topics[key]))) for key in sorted(topics)]
    return HeldOut(0, {"general": pages, "code": list(builtin.documents("code", "held-out"))})


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("items")
    build_items(path, 0, text)
    return path


def rows(folder, task):
    """The rows of a task; there are some."""
    items = [json.loads(line) for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert items
    return items


# demo_last_word has as many items as the text of the topics gives, which changes with the version of Python.
@pytest.mark.parametrize("task", [task for task in TASKS if task != "demo_last_word"])
def test_a_task_has_its_number_of_items(folder, task):
    assert len(rows(folder, task)) == TASKS[task][1]


@pytest.mark.slow
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
    assert {split_of(question) for question in questions} == {"held-out"}


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
    for item in rows(folder, "demo_last_word"):
        assert f"{' '.join(item['context'].split(' ')[-2:])} {item['answer']}" in item["context"]


def test_prose_choices_have_six_words(folder):
    assert all(len(choice.split()) == 6 for item in rows(folder, "demo_prose") for choice in item["choices"])


def test_code_choices_are_indented_alike_and_the_context_ends_a_line(folder):
    for item in rows(folder, "demo_code"):
        assert item["context"][-1].isalnum()
        assert len({len(choice) - len(choice.lstrip("\n ")) for choice in item["choices"]}) == 1


def test_assignments_ask_for_the_first_parameter(folder):
    for item in rows(folder, "demo_assignments"):
        signature = re.search(r"__init__\(self, (.*)\):", item["context"]).group(1).split(", ")
        assert item["context"].endswith(f"):\n        self.{signature[0]} =")
        assert item["parameters"] == signature[:1]
