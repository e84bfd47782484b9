"""Items of the code tasks: which lines come next, and the assignments of a constructor."""

import keyword
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ream.calibration.builtin import Document
from ream.evaluation.choices import Rarity, in_order, nearest, with_distractors
from ream.evaluation.held_out import shingles

CONTEXT_LINES = range(3, 9)
CONTEXT_CHARS = 200
LINE_CHARS = range(12, 41)
NEAREST = 20
STATEMENT = re.compile(
    r" +(?:(?:def|class|if|elif|else|for|while|return|raise|try|except|with|import|from|assert|yield|del)\b"
    r"|@\w+$|[\w.]+(?:\[[^]]*\])?(?: ?[-+*/|&]?= ?|\())"
)
NAME = re.compile(r"[A-Za-z_]\w{3,}")
COMMON_NAMES = frozenset(keyword.kwlist) | {"self"}
IDENTIFIER = re.compile(r"[a-z]+(?:_[a-z]+)*")
SIGNATURE = re.compile(r"^ *def \w+\(([\w, ]*)\):$", re.MULTILINE)
CLASS = re.compile(r"^class ([A-Z]\w+)", re.MULTILINE)
PARAMETERS = (1, 2, 3)


@dataclass(frozen=True)
class Excerpt:
    """Lines of code and the line that follows them."""

    document: str
    context: str
    line: str

    @property
    def file(self) -> str:
        return self.document.split("#")[0]

    @property
    def indentation(self) -> int:
        return len(self.line) - len(self.line.lstrip(" "))


def excerpts(documents: Sequence[Document]) -> Iterator[Excerpt]:
    """Every indented line that looks like a statement, with the lines before it.

    The context ends in a letter or digit: many tokenizers read a sign and the line end after it as one token, and then
    a text cut between them is not one that a model has seen.
    """
    for document in documents:
        lines = document.text.split("\n")
        for index in range(CONTEXT_LINES.stop - 1, len(lines)):
            before = lines[index - CONTEXT_LINES.stop + 1 : index]
            if not before[-1][-1:].isalnum() or not STATEMENT.match(lines[index]):
                continue
            while len("\n".join(before)) > CONTEXT_CHARS:
                before = before[1:]
            if len(before) in CONTEXT_LINES:
                yield Excerpt(document.id, "\n".join(before).lstrip("\n"), lines[index])


def code_items(documents: Sequence[Document], seen: Set[str], seed: str, count: int) -> list[dict]:
    """Multiple choice: the next line, among lines of other files that are indented alike and of words about as rare.

    The right line has a name in common with the context: there must be something to tell it by.

    Args:
        documents: of the held-out split of ``code``.
        seen: shingles of the other splits (`ream.evaluation.held_out`); items that share one are left out.
        seed: picks items and distractors.
        count: of items at most; three at most are of one document.

    Returns:
        Rows {context, choices: four, each with the line end before it, label: index of the right one}.
    """
    rarity = Rarity(document.text for document in documents)
    found = [excerpt for excerpt in excerpts(documents) if len(excerpt.line.strip()) in LINE_CHARS]
    alike = defaultdict[int, list[tuple[Excerpt, float]]](list)
    for excerpt in found:
        alike[excerpt.indentation].append((excerpt, rarity(excerpt.line)))
    rows: list[dict] = []
    used = defaultdict[str, int](int)
    for excerpt in in_order(found, seed, lambda excerpt: excerpt.context + excerpt.line):
        if len(rows) == count:
            break
        if used[excerpt.document] == 3 or not _names(excerpt.context) & _names(excerpt.line):
            continue
        if not shingles(f"{excerpt.context}\n{excerpt.line}").isdisjoint(seen):
            continue
        others = [(o.line, cost) for o, cost in alike[excerpt.indentation] if o.file != excerpt.file]
        near = nearest(excerpt.line, others, rarity(excerpt.line), NEAREST)
        draw = random.Random(f"{seed}/{excerpt.context}")
        row = with_distractors(excerpt.context, excerpt.line, near, draw, prefix="\n")
        if row is not None:
            rows.append(row)
            used[excerpt.document] += 1
    return rows


def _names(code: str) -> set[str]:
    return set(NAME.findall(code)) - COMMON_NAMES


def assignment_items(documents: Sequence[Document], draw: random.Random, count: int) -> list[dict]:
    """Generation: the value of a constructor's first assignment, ``self.<first parameter> =``.

    Class names and parameters are those of held-out code, in new combinations. A model of a few million parameters
    stores the first parameter and hardly ever the others; for those the task would be 0 whatever the model.

    Returns:
        Rows {context, parameters: the first}.
    """
    names = sorted({name for document in documents for name in _parameters(document.text)})
    classes = sorted({name for document in documents for name in CLASS.findall(document.text)})
    rows: list[dict] = []
    for _ in range(count):
        parameters = draw.sample(names, draw.choice(PARAMETERS))
        head = f"class {draw.choice(classes)}:\n\n    def __init__({', '.join(['self', *parameters])}):"
        rows.append({"context": f"{head}\n        self.{parameters[0]} =", "parameters": parameters[:1]})
    return rows


def _parameters(code: str) -> Iterator[str]:
    for signature in SIGNATURE.findall(code):
        for name in signature.replace(" ", "").split(","):
            if name not in ("self", "cls") and 3 <= len(name) <= 12 and IDENTIFIER.fullmatch(name):
                yield name
