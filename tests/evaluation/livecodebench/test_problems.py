import json

import pytest

from ream.errors import UserError
from ream.evaluation.livecodebench.cases import cases_of
from ream.evaluation.livecodebench.problems import cases_at, load
from ream.evaluation.livecodebench.prompt import program_in, text
from tests.evaluation.livecodebench.problem_rows import STARTER, SUM, method_row, stdin_row, write

WINDOW = {"first": "2024-03-09", "last": "2024-03-10"}
FILES = {"test.jsonl": 2, "test2.jsonl": 1}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "test.jsonl", [stdin_row(1), method_row(2)])
    write(tmp_path / "test2.jsonl", [stdin_row(3, pack=False)])
    return tmp_path


def loaded(folder, contests=WINDOW, problems=FILES):
    return load(str(folder), "main", "release_v0", contests, problems, version=1)["test"]


def test_rows_are_all_files_in_order_and_their_cases_are_found_again(folder):
    rows = loaded(folder)
    assert [(row["question_id"], row["function"], row["platform"]) for row in rows] == [
        ("abc1_a", "", "atcoder"), ("2", "total", "leetcode"), ("abc3_a", "", "atcoder"),
    ]  # fmt: skip
    assert not {"private_test_cases", "public_test_cases"} & set(rows.column_names)
    given = [stdin_row(1), method_row(2), stdin_row(3, pack=False)]
    assert [cases_at(row) for row in rows] == [cases_of(row) for row in given]


def test_other_problems_than_the_releases_are_refused(folder):
    with pytest.raises(UserError, match=r"test2\.jsonl of .* has 1 problems, but in release_v0 it has 4"):
        loaded(folder, problems=FILES | {"test2.jsonl": 4})
    with pytest.raises(
        UserError, match="problem '2' is dated 2024-03-10, but the contests of release_v0 are from 2024-03-09 to"
    ):
        loaded(folder, contests=WINDOW | {"last": "2024-03-09"})
    with pytest.raises(UserError, match="problem 'abc1_a' is dated 2024-03-09"):
        loaded(folder, contests=WINDOW | {"first": "2024-03-10"})


@pytest.mark.parametrize("line", ["{}", "no JSON", json.dumps(stdin_row(1) | {"metadata": ""})])
def test_a_row_that_is_no_problem_is_refused(folder, line):
    (folder / "test2.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=r"test2\.jsonl: the row at byte 1.* is not (a problem|valid JSON)"):
        loaded(folder)


def test_a_file_that_has_changed_since_is_refused(folder):
    rows = loaded(folder)
    write(folder / "test.jsonl", [method_row(2), stdin_row(1)])
    for row in list(rows)[:2]:
        with pytest.raises(UserError, match="has changed while its problems were solved"):
            cases_at(row)


def test_the_prompt_is_the_benchmarks():
    # written out from lcb_runner/prompts/code_generation.py, get_generic_question_template_answer
    assert text(stdin_row(1)) == (
        f"### Question:\n{SUM} (1)\n\n### Format: Read the inputs from stdin solve the problem and write the answer to "
        "stdout (do not directly test on the sample inputs). Enclose your code within delimiters as follows.\n"
        "```python\n# YOUR CODE HERE\n```\n\n### Answer: (use the provided format with backticks)\n\n"
    )
    assert text(method_row(2)) == (
        "### Question:\nReturn the total. (2)\n\n### Format: You will use the following starter code to write the "
        "solution to the problem and enclose your code within delimiters.\n"
        f"```python\n{STARTER}\n```\n\n### Answer: (use the provided format with backticks)\n\n"
    )


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("```python\nprint(1)\n```", "print(1)"),
        ("First\n```\nx\n```\nthen\n  ```py\na = 1\n\nb = 2\n``` and so on", "a = 1\n\nb = 2"),
        ("print(1)", ""),
        ("```python\nprint(1)", ""),  # cut off
        ("```\na\n```\ntext\n```\nb", "text"),  # what the benchmark takes: the lines between the last two fences
        ("", ""),
    ],
)
def test_the_program_is_what_stands_between_the_last_two_fences(answer, program):
    assert program_in(answer) == program
