"""The functions that data/tasks/*.yaml call: they read items and score generated text, which is never executed.

The module's name must not change: the YAML files name it, and a digest of those files is among the settings that every
score records (`ream.evaluation.settings.task_settings`).
"""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError
from ream.machine.documents import parse_json, read_text

if TYPE_CHECKING:
    from datasets import Dataset

NUMBER = re.compile(r"\s*(-?\d+)")
ANSWER = re.compile(r"\nAnswer: *(-?\d+)")
WORD = re.compile(r"\s*([A-Za-z]+)")


def load_items(task: str, items: str | None = None, **_: Any) -> "dict[str, Dataset]":
    """The items of a task as the data set {"test": rows} that lm-eval expects, read from <items>/<task>.jsonl.

    Args:
        task: name of the task, from its dataset_kwargs.
        items: folder of the items, from the metadata given to lm-eval.

    Raises:
        UserError: no folder was given, or the task's file is not in it.
    """
    from datasets import Dataset

    if items is None:
        raise UserError(f'task {task} needs the folder of its items: --metadata \'{{"items": "artifacts/items"}}\'')
    path = Path(items) / f"{task}.jsonl"
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the items stage, which writes it")
    return {"test": Dataset.from_list([parse_json(line, str(path)) for line in read_text(path).splitlines()])}


def number(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """exact_match: 1 if the generated text begins with the right number, else 0."""
    return _exact(NUMBER.match(results[0]), row["answer"])


def answer(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """exact_match: 1 if the first line that begins with "Answer:" gives the right number, else 0."""
    return _exact(ANSWER.search(results[0]), row["answer"])


def word(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """exact_match: 1 if the generated text begins with the right word, else 0."""
    return _exact(WORD.match(results[0]), row["answer"])


def assignments(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """exact_match: 1 if the generated lines store every parameter asked for in ``self`` (`assigned`), else 0."""
    return {
        "exact_match": float(assigned(row["context"], results[0], len(row["parameters"])) >= set(row["parameters"]))
    }


def assigned(context: str, generated: str, lines: int) -> set[str]:
    """Parameters that a constructor stores under their own names (``self.size = size``), in given and generated lines.

    The generated text is read up to the end of the context's last line and ``lines`` lines further, but not beyond a
    line that is empty or not indented more than the constructor. The code is parsed as Python and never run.

    Args:
        context: code that ends within a constructor or its signature.
        generated: text generated after the context.
        lines: number of generated lines to read after the context's last line.

    Returns:
        The names; empty if the code is not Python.
    """
    given = context.count("\n") + 1
    code = f"{context}{generated}".split("\n")
    start = max((n for n, line in enumerate(code[:given]) if line.lstrip().startswith("def ")), default=0)
    end = given
    while end < min(given + lines, len(code)) and _indentation(code[end]) > _indentation(code[start]):
        end += 1
    try:
        tree = ast.parse("\n".join(code[:end]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what ast.parse raises on text that is not Python
        return set()
    constructor = max((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)), key=lambda n: n.lineno)
    return {name for statement in constructor.body if (name := _stored(statement)) is not None}


def _indentation(line: str) -> int:
    """Leading spaces of a line; -1 for an empty line."""
    return len(line) - len(line.lstrip(" ")) if line.strip() else -1


def _stored(statement: ast.stmt) -> str | None:
    """The parameter that a statement stores under its own name; None for any other statement."""
    match statement:
        case ast.Assign(targets=[ast.Attribute(ast.Name("self"), name)], value=ast.Name(value)) if name == value:
            return name
        case ast.AnnAssign(target=ast.Attribute(ast.Name("self"), name), value=ast.Name(value)) if name == value:
            return name
    return None


def _exact(match: re.Match[str] | None, right: str) -> dict[str, float]:
    return {"exact_match": float(match is not None and match.group(1) == right)}
