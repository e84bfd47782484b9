"""Built-in text sources that need no network and ship no foreign text.

``general`` and ``code`` are read at run time from the Python installation, ``math`` is generated (problems.py). Every
file belongs to exactly one split, decided by a hash of its content, and a paragraph of prose that occurs in several
files to one split alone, so nothing that is calibrated on or tested on was trained on. The text therefore follows the
installation: another Python or another numpy gives other documents, under the same names and with the same split rule.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sysconfig
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Literal, cast, get_args

from ream.calibration.problems import worksheets

Split = Literal["train", "calibration", "held-out"]
SPLITS: tuple[Split, ...] = get_args(Split)
NAMES = ("general", "math", "code")

# Packages whose docstrings are reference documentation; all of them come with ream's own dependencies.
DOCUMENTED_PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "sklearn",
    "matplotlib",
    "networkx",
    "sympy",
    "torch",
    "transformers",
)
NOT_PROSE_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"}
# One file of the encodings package is a table of 256 characters: bytes, not code.
TABLE = re.compile(r"encodings[/\\](cp|iso|mac|koi|ptcp|tis|hp_roman|kz)")
# A text that repeats from this length on is kept in one split alone; shorter ones are common phrases.
LONG_SENTENCE = 40
MIN_CHARS, MAX_CHARS = 1600, 4800


@dataclass(frozen=True)
class Document:
    """One text with a stable identifier (origin and position within it)."""

    id: str
    text: str


def split_of(content: str | bytes) -> Split:
    """The split a document belongs to: 80% train, 10% calibration, 10% held-out, by SHA-256 of its content."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    bucket = int.from_bytes(hashlib.sha256(data).digest()[:4], "big") % 10
    return "held-out" if bucket == 0 else "calibration" if bucket == 1 else "train"


def documents(name: str, split: Split, seed: int = 0) -> Iterator[Document]:
    """Documents of one built-in source and split, in a seeded random order.

    Args:
        name: one of ``general``, ``math``, ``code``.
        split: one of ``train``, ``calibration``, ``held-out``.
        seed: orders the documents (and, for ``math``, generates them: that source never ends).

    Raises:
        KeyError: the name is none of the three.
    """
    if name == "math":
        for index, text in enumerate(worksheets(split, seed)):
            yield Document(f"math/{split}/{seed}/{index}", text)
        return
    if name == "general":
        yield from _prose_documents(split, seed)
        return
    for label, data in _of_split({"code": _code_files}[name](), split, seed):
        for index, piece in enumerate(pieces(_code_text(data), at_definitions=True)):
            yield Document(f"{name}/{label}#{index}", piece)


def _prose_documents(split: Split, seed: int) -> Iterator[Document]:
    """Documents of ``general``.

    Libraries repeat paragraphs from file to file, so the split of the file is not enough: a paragraph with a sentence
    that occurs in a training file is left out of the other splits, and one of the calibration split of the held-out
    one. Pages are short: following pages of the same split join one that is.
    """
    seen: set[str] = set()
    own: list[tuple[str, Path | str]] = []
    earlier = SPLITS[: SPLITS.index(split)]
    for label, path in _general_files():
        data = _content(path)
        its = split_of(data)
        if its == split:
            own.append((label, path))
        elif its in earlier:
            seen |= long_sentences(data.decode("utf-8", errors="replace"))
    short = ""
    for label, data in _of_split(own, split, seed):
        kept = [paragraph for paragraph in _paragraphs(data) if seen.isdisjoint(long_sentences(paragraph))]
        text = "\n\n".join([short, *kept]).strip()
        if len(text) < MIN_CHARS:
            short = text
            continue
        short = ""
        for index, piece in enumerate(pieces(text, at_definitions=False)):
            yield Document(f"general/{label}#{index}", piece)


def long_sentences(text: str) -> set[str]:
    """Sentences of at least LONG_SENTENCE characters of prose or of Python source (its docstrings), spaces joined.

    Splitting the raw source gives a superset of what its docstrings hold, and is thirty times as fast as parsing it.
    """
    parts = text.replace('"""', ". ").replace("'''", ". ").replace("\n\n", ". ")
    sentences = " ".join(parts.split()).split(". ")
    return {sentence.rstrip(".:!?") for sentence in sentences if len(sentence) >= LONG_SENTENCE}


def _of_split(files: list[tuple[str, Path | str]], split: Split, seed: int) -> Iterator[tuple[str, bytes]]:
    """Label and content of the files of a split, in an order that follows from the seed and each file's content.

    A file more, as another version of a library brings, leaves the order of all others as it is.
    """
    ranked: list[tuple[bytes, str, Path | str]] = []
    for label, path in files:
        data = _content(path)
        if split_of(data) == split:
            ranked.append((hashlib.sha256(f"{seed}/".encode() + data).digest(), label, path))
    for _, label, path in sorted(ranked, key=lambda item: item[:2]):
        yield label, _content(path)


def _content(path: Path | str) -> bytes:
    return path.read_bytes() if isinstance(path, Path) else path.encode("utf-8")


def pieces(text: str, at_definitions: bool) -> list[str]:
    """Cut a text into runs of MIN_CHARS to MAX_CHARS characters at paragraph or top-level-definition boundaries.

    What is left at the end and shorter than that is dropped, unless it is all there is.
    """
    boundary = r"\n(?=(?:@|def |class |async def ))" if at_definitions else r"\n\n"
    joint = "\n" if at_definitions else "\n\n"
    result, current = [], ""
    for part in re.split(boundary, text):
        current = current + joint + part if current else part
        while len(current) > MAX_CHARS:
            cut = current.rfind("\n", 0, MAX_CHARS)
            cut = cut if cut > 0 else MAX_CHARS
            result.append(current[:cut])
            current = current[cut:].lstrip("\n")
        if len(current) >= MIN_CHARS:
            result.append(current)
            current = ""
    if current and not result:
        return [current]
    return result


def prose(text: str) -> list[str]:
    """Paragraphs of running English in a documentation text: no tables, code, badges, lists of parameters."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        letters = sum(character.isalpha() or character == " " for character in line)
        if (
            len(line) >= 50
            and letters >= 0.8 * len(line)
            and line[-1] in ".:!?"
            and not re.search(r">>>|\.\. |::|https?:|\\|\$|---|===|\|", line)
        ):
            found.append(line)
    return found


def _general_files() -> list[tuple[str, Path | str]]:
    """(label, file or text) of all reference documentation: language topics, package descriptions, docstrings."""
    from pydoc_data.topics import topics

    found: list[tuple[str, Path | str]] = [(f"topics/{key}", topics[key]) for key in sorted(topics)]
    for distribution in importlib.metadata.distributions():
        description = cast(Message, distribution.metadata).get_payload()
        if isinstance(description, str) and description.strip() and distribution.metadata["Name"] != "ream":
            found.append((f"description/{distribution.metadata['Name']}", description))
    for package in DOCUMENTED_PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            root = Path(spec.origin).parent
            found += [(f"{package}/{label}", path) for label, path in _python_files(root)]
    return sorted(found, key=lambda item: item[0])


def _paragraphs(data: bytes) -> list[str]:
    """Prose of a documentation text or, where the text is Python, of its docstrings; a paragraph occurs once."""
    text = data.decode("utf-8", errors="replace")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return list(dict.fromkeys(prose(text)))
    return list(dict.fromkeys(paragraph for string in _docstrings(tree) for paragraph in prose(string)))


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of a module and of all that it defines, level by level as in ast.walk, but past all expressions."""
    nodes: deque[ast.AST] = deque([tree])
    while nodes:
        node = nodes.popleft()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            children = getattr(node, name, None)
            if isinstance(children, list):
                nodes.extend(children)


def _code_files() -> list[tuple[str, Path | str]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    return [(label, path) for label, path in _python_files(root)]


def _code_text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n").expandtabs(4)


def _python_files(root: Path) -> list[tuple[str, Path]]:
    """Python files below a folder with their places in it, in no particular order.

    Paths are made for those that are found alone: there are tens of thousands of others.
    """
    found = []
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in NOT_PROSE_FOLDERS]
        for name in names:
            path = f"{folder}{os.sep}{name}"
            if name.endswith(".py") and not TABLE.search(path):
                found.append((path[len(str(root)) + 1 :], Path(path)))
    return found
