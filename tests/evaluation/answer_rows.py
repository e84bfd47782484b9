"""Answers for tests."""

from ream.evaluation.answers import Answer


def row(**changes):
    """An answer in which nothing is wrong."""
    values = {
        "task": "t", "subtask": "t", "doc_id": 0, "repeat": 0, "prompt_hash": "0a", "answer": "It is 4",
        "parsed": "4", "correct": 1.0, "robust": None, "tokens": 3, "cut": False, "truncated": False,
        "unparsed": False, "open": False, "loops": False,
    }  # fmt: skip
    return Answer(**(values | changes))
