"""Small problems in the schema and encoding of the data set."""

import base64
import json
import pickle
import zlib

SUM = "Print the sum of the two numbers."
STARTER = "class Solution:\n    def total(self, numbers: List[int]) -> int:\n        "


def packed(value, protocol=4):
    """The form of private test cases: base64(zlib(pickle(value)))."""
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol=protocol))).decode()


def tests(pairs, kind):
    return json.dumps([{"input": given, "output": expected, "testtype": kind} for given, expected in pairs])


def stdin_row(number, day="2024-03-09", pack=True):
    """A problem in the style of AtCoder: print the sum of ``number`` and the input."""
    private = tests([(f"{n} {number}\n", f"{n + number}\n") for n in (7, 10**17)], "stdin")
    return {
        "question_title": f"Sum {number}", "question_content": f"{SUM} ({number})", "platform": "atcoder",
        "question_id": f"abc{number}_a", "contest_id": f"abc{number}", "contest_date": f"{day}T00:00:00",
        "starter_code": "", "difficulty": "easy",
        "public_test_cases": tests([(f"1 {number}", f"{1 + number}")], "stdin"),
        "private_test_cases": packed(private) if pack else private, "metadata": "{}",
    }  # fmt: skip


def method_row(number, day="2024-03-10"):
    """A problem in the style of LeetCode: return the sum of a list."""
    cases = [(json.dumps([1, number]), str(1 + number)), (json.dumps([]), "0")]
    return {
        "question_title": f"Total {number}", "question_content": f"Return the total. ({number})",
        "platform": "leetcode", "question_id": str(number), "contest_id": f"weekly-{number}",
        "contest_date": f"{day}T19:30:00", "starter_code": STARTER, "difficulty": "medium",
        "public_test_cases": tests(cases[:1], "functional"),
        "private_test_cases": packed(tests(cases[1:], "functional")),
        "metadata": json.dumps({"func_name": "total"}),
    }  # fmt: skip


def right_answer(row):
    """An answer in the style of instruct models, with a program that passes."""
    if row["starter_code"]:
        code = "class Solution:\n    def total(self, numbers: List[int]) -> int:\n        return sum(numbers)"
    else:
        code = "a, b = map(int, input().split())\nprint(a + b)"
    return f"### Approach\nAdd them:\n```text\na + b\n```\nSo:\n```python\n{code}\n```\nThat is all."


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
