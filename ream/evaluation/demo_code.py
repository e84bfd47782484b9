"""Items of the code tasks: which lines come next, and the assignments of a constructor."""

import random
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ream.calibration.builtin import Document
from ream.evaluation.choices import with_distractors
from ream.evaluation.held_out import shingles

CONTEXT_LINES = 8
CONTEXT_CHARS = 280
CONTINUATION_CHARS = range(25, 81)
LENGTH_TOLERANCE = 0.2
STATEMENT = re.compile(
    r" +(?:(?:def|class|if|elif|else|for|while|return|raise|try|except|with|import|from|assert|yield|del)\b"
    r"|@\w+$|[\w.]+(?:\[[^]]*\])?(?: ?[-+*/|&]?= ?|\())"
)
IDENTIFIER = re.compile(r"[a-z]+(?:_[a-z]+)*")
SIGNATURE = re.compile(r"^ *def \w+\(([\w, ]*)\):$", re.MULTILINE)
CLASS = re.compile(r"^class ([A-Z]\w+)", re.MULTILINE)
PARAMETERS = (2, 3)


@dataclass(frozen=True)
class Excerpt:
    """Lines of code and the one or two lines that follow them."""

    document: str
    context: str
    continuation: str

    @property
    def indentation(self) -> int:
        return len(self.continuation) - len(self.continuation.lstrip(" "))


def excerpts(documents: Sequence[Document]) -> Iterator[Excerpt]:
    """Every run of up to CONTEXT_LINES lines before a line of code, which is joined by the next if it is short.

    The context ends in a letter or digit: many tokenizers read a sign and the line end after it as one token, and then
    a text cut between them is not one that a model has seen. The continuation is indented and looks like a statement:
    most lines at the margin are imports or text.
    """
    for document in documents:
        lines = document.text.split("\n")
        for index in range(CONTEXT_LINES, len(lines) - 1):
            before = lines[index - CONTEXT_LINES : index]
            if not before[-1][-1:].isalnum() or not STATEMENT.match(lines[index]):
                continue
            continuation = lines[index]
            if len(continuation.strip()) < CONTINUATION_CHARS.start and lines[index + 1].strip():
                continuation = f"{continuation}\n{lines[index + 1]}"
            while len("\n".join(before)) > CONTEXT_CHARS:
                before = before[1:]
            yield Excerpt(document.id, "\n".join(before).lstrip("\n"), continuation)


def code_items(documents: Sequence[Document], seen: Set[str], draw: random.Random, count: int) -> list[dict]:
    """Multiple choice: the lines that follow, among lines of other files with the same indentation and length.

    Args:
        documents: of the held-out split of ``code``.
        seen: shingles of the other splits (`ream.evaluation.held_out`); items that share one are left out.
        draw: picks items and distractors.
        count: of items at most; three at most are of one document.

    Returns:
        Rows {context, choices: four, each with the line end before it, label: index of the right one}.
    """
    found = [excerpt for excerpt in excerpts(documents) if len(excerpt.continuation.strip()) in CONTINUATION_CHARS]
    draw.shuffle(found)
    rows, used = [], dict[str, int]()
    for excerpt in found:
        text = f"{excerpt.context}\n{excerpt.continuation}"
        if used.get(excerpt.document, 0) == 3 or not shingles(text).isdisjoint(seen):
            continue
        row = with_distractors(excerpt.context, excerpt.continuation, _alike(excerpt, found), draw, prefix="\n")
        if row is not None:
            rows.append(row)
            used[excerpt.document] = used.get(excerpt.document, 0) + 1
        if len(rows) == count:
            break
    return rows


def _alike(excerpt: Excerpt, pool: Sequence[Excerpt]) -> list[str]:
    file, length = excerpt.document.split("#")[0], len(excerpt.continuation)
    return [
        other.continuation
        for other in pool
        if other.indentation == excerpt.indentation
        and abs(len(other.continuation) - length) <= LENGTH_TOLERANCE * length
        and other.document.split("#")[0] != file
    ]


def assignment_items(documents: Sequence[Document], draw: random.Random, count: int) -> list[dict]:
    """Generation: the rest of a constructor that stores its parameters, of which the first is stored already.

    Class names and parameters are those of held-out code, in new combinations.

    Returns:
        Rows {context, parameters: those still to be stored}.
    """
    names = sorted({name for document in documents for name in _parameters(document.text)})
    classes = sorted({name for document in documents for name in CLASS.findall(document.text)})
    rows = []
    for _ in range(count):
        first, *others = draw.sample(names, 1 + draw.choice(PARAMETERS))
        signature = ", ".join(["self", first, *others])
        head = f"class {draw.choice(classes)}:\n\n    def __init__({signature}):\n        self.{first} = {first}"
        rows.append({"context": head, "parameters": others})
    return rows


def _parameters(code: str) -> Iterator[str]:
    for signature in SIGNATURE.findall(code):
        for name in signature.replace(" ", "").split(","):
            if name not in ("self", "cls") and 3 <= len(name) <= 12 and IDENTIFIER.fullmatch(name):
                yield name
