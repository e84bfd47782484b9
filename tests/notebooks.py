"""Runs the cells of a notebook without Jupyter: `python -m tests.notebooks docs/first-hour.ipynb` stores the outputs.

What a cell prints, and the value of its last expression, are its output, as Jupyter shows them. Progress bars on stderr
are left out.
"""

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def code_of(cell: dict[str, Any]) -> str:
    """The source of a cell."""
    return "".join(cell["source"])


def run(notebook: dict[str, Any]) -> list[str]:
    """Run all code cells in their order in one namespace; returns the output of each."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_output(code_of(cell), names) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _output(source: str, names: dict[str, Any]) -> str:
    """What a cell prints and the value that it ends with."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307 - our notebook
            if value is not None:
                print(repr(value))
    return printed.getvalue()


def stored(notebook: dict[str, Any]) -> list[str]:
    """The outputs that a notebook has."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join("".join(output["text"]) for output in cell["outputs"]) for cell in cells]


def main(path: Path) -> None:
    """Run a notebook and store its outputs in it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    outputs = run(notebook)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, text) in enumerate(zip(cells, outputs, strict=True), start=1):
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell |= {"execution_count": number, "outputs": [stream] if text else []}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
