"""What data/tasks/*.yaml call: reading items, and scoring what was generated. Nothing generated is ever executed."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

NUMBER = re.compile(r"\s*(-?\d+)")
ANSWER = re.compile(r"\nAnswer: *(-?\d+)")
WORD = re.compile(r"\s*([A-Za-z]+)")


def load_items(task: str, items: str | None = None, **_: Any) -> "dict[str, Dataset]":
    """The items of a task as lm-eval's data set: {"test": rows}, read straight from <items>/<task>.jsonl.

    Args:
        task: from the task's dataset_kwargs.
        items: the folder, from the metadata given to lm-eval.

    Raises:
        UserError: no folder was given, or it lacks the task's file.
    """
    from datasets import Dataset

    if items is None:
        raise UserError(f'task {task} needs the folder of its items: --metadata \'{{"items": "artifacts/items"}}\'')
    path = Path(items) / f"{task}.jsonl"
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the items stage, which writes it")
    return {"test": Dataset.from_list([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])}


def number(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the generated text begins with the right number."""
    return _exact(NUMBER.match(results[0]), row["answer"])


def answer(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the first line that begins with "Answer:" gives the right number."""
    return _exact(ANSWER.search(results[0]), row["answer"])


def word(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the generated text begins with the right word."""
    return _exact(WORD.match(results[0]), row["answer"])


def assignments(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the next lines store each remaining parameter in ``self`` (`assigned`)."""
    return {
        "exact_match": float(assigned(row["context"], results[0], len(row["parameters"])) >= set(row["parameters"]))
    }


def assigned(context: str, generated: str, lines: int) -> set[str]:
    """Parameters that generated lines of a constructor's body store under their own name: ``self.size = size``.

    Only the first ``lines`` lines count and only up to an empty or less indented one; what follows isn't read. They are
    parsed as Python, together with the context, and never run.

    Args:
        context: code that ends within a constructor, without the last line's end.
        generated: what follows, from that line end on.
        lines: how many to read.

    Returns:
        The names; none where the lines are not Python.
    """
    head = context.split("\n")
    indentation = len(head[-1]) - len(head[-1].lstrip(" "))
    body: list[str] = []
    for line in generated.split("\n")[1 : lines + 1]:
        if not line.strip() or len(line) - len(line.lstrip(" ")) < indentation:
            break
        body.append(line)
    if not generated.startswith("\n") or not body:
        return set()
    try:
        tree = ast.parse("\n".join([*head, *body]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what ast.parse raises on text that isn't Python
        return set()
    constructor = max((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)), key=lambda n: n.lineno)
    return {name for statement in constructor.body if (name := _stored(statement)) is not None}


def _stored(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Attribute(ast.Name("self"), name)], value=ast.Name(value)) if name == value:
            return name
        case ast.AnnAssign(target=ast.Attribute(ast.Name("self"), name), value=ast.Name(value)) if name == value:
            return name
    return None


def _exact(found: re.Match[str] | None, right: str) -> dict[str, float]:
    return {"exact_match": float(found is not None and found.group(1) == right)}
