"""Running English in documentation texts and in the docstrings of Python files."""

import ast
import re
from collections import deque
from collections.abc import Iterator

# Sentences of at least this many characters may occur in one split only; shorter ones are common phrases.
LONG_SENTENCE = 40


def prose(text: str) -> list[str]:
    """Paragraphs of running English in a documentation text: no tables, code, badges or parameter lists."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        letters = sum(character.isalpha() or character == " " for character in line)
        if (
            len(line) >= 50
            and letters >= 0.8 * len(line)
            and line[-1] in ".:!?"
            and not re.search(r">>>|\.\. |::|https?:|\\|\$|---|===|\|", line)
        ):
            paragraphs.append(line)
    return paragraphs


def prose_of_file(data: bytes) -> list[str]:
    """Distinct paragraphs of prose in a file: those of its docstrings if it is Python, else those of its whole text."""
    text = data.decode("utf-8", errors="replace")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return list(dict.fromkeys(prose(text)))
    return list(dict.fromkeys(paragraph for string in _docstrings(tree) for paragraph in prose(string)))


def long_sentences(text: str) -> set[str]:
    """Sentences of at least LONG_SENTENCE characters in prose or Python source, with white space joined.

    For Python source the result is a superset of the sentences in its docstrings; splitting the source is thirty times
    as fast as parsing it.
    """
    parts = text.replace('"""', ". ").replace("'''", ". ").replace("\n\n", ". ")
    sentences = " ".join(parts.split()).split(". ")
    return {sentence.rstrip(".:!?") for sentence in sentences if len(sentence) >= LONG_SENTENCE}


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of a module and of all that it defines, in the order of ast.walk, without visiting expressions."""
    nodes: deque[ast.AST] = deque([tree])
    while nodes:
        node = nodes.popleft()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            children = getattr(node, name, None)
            if isinstance(children, list):
                nodes.extend(children)
