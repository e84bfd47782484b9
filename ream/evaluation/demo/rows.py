"""Rows of the demo tasks' JSONL files, one row an item."""

from typing import TypedDict


class ChoiceRow(TypedDict):
    """A multiple-choice item: four continuations of the context, of which ``label`` is the index of the right one."""

    context: str
    choices: list[str]
    label: int


class AnswerRow(TypedDict):
    """A generation item with the answer that is expected after the context."""

    context: str
    answer: str


class AssignmentRow(TypedDict):
    """A generation item with the constructor parameters that the generated code must store."""

    context: str
    parameters: list[str]
