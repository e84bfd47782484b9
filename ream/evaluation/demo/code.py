"""Items of the code tasks: which line comes next, and what a constructor assigns."""

import keyword
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ream.calibration.document import Document
from ream.evaluation.demo.choices import Rarity, in_order, nearest, with_distractors
from ream.evaluation.demo.held_out import shingles
from ream.evaluation.demo.rows import AssignmentRow, ChoiceRow

CONTEXT_LINES = range(3, 9)
CONTEXT_CHARS = 200
LINE_CHARS = range(12, 41)
NEAREST = 20  # lines of similar rarity from which the distractors are drawn
ITEMS_PER_DOCUMENT = 3
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
    """Lines of code and the line that follows them.

    Attributes:
        document: id of the document that holds them.
        context: the lines before.
        line: the line that follows, with its indentation.
    """

    document: str
    context: str
    line: str

    @property
    def file(self) -> str:
        """The file that the document was cut from."""
        return self.document.split("#")[0]

    @property
    def indentation(self) -> int:
        """Leading spaces of the line."""
        return len(self.line) - len(self.line.lstrip(" "))


def excerpts(documents: Sequence[Document]) -> Iterator[Excerpt]:
    """Every indented line that looks like a statement, with the 3 to 8 lines before it.

    The context ends in a letter or digit. Many tokenizers make one token of a punctuation sign and the line end after
    it; a text cut between the two has tokens that the model never saw in training.
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


def code_items(documents: Sequence[Document], seen: Set[str], seed: str, count: int) -> list[ChoiceRow]:
    """Multiple choice: the next line among lines of other files with the same indentation and similar rarity.

    The right line shares a name with the context, so that something tells it apart.

    Args:
        documents: documents of the held-out split of ``code``.
        seen: shingles of the other splits (`ream.evaluation.demo.held_out`); an item that contains one is left out.
        seed: picks items and distractors.
        count: maximum number of items.

    Returns:
        Rows whose choices begin with the line end before them; at most ITEMS_PER_DOCUMENT come from one document.
    """
    rarity = Rarity(document.text for document in documents)
    candidates = [excerpt for excerpt in excerpts(documents) if len(excerpt.line.strip()) in LINE_CHARS]
    by_indentation = defaultdict[int, list[tuple[Excerpt, float]]](list)
    for excerpt in candidates:
        by_indentation[excerpt.indentation].append((excerpt, rarity(excerpt.line)))
    rows: list[ChoiceRow] = []
    used = defaultdict[str, int](int)
    for excerpt in in_order(candidates, seed, lambda excerpt: excerpt.context + excerpt.line):
        if len(rows) == count:
            break
        if used[excerpt.document] == ITEMS_PER_DOCUMENT or not _names(excerpt.context) & _names(excerpt.line):
            continue
        if not shingles(f"{excerpt.context}\n{excerpt.line}").isdisjoint(seen):
            continue
        others = [
            (other.line, cost) for other, cost in by_indentation[excerpt.indentation] if other.file != excerpt.file
        ]
        similar = nearest(excerpt.line, others, rarity(excerpt.line), NEAREST)
        draw = random.Random(f"{seed}/{excerpt.context}")
        row = with_distractors(excerpt.context, excerpt.line, similar, draw, prefix="\n")
        if row is not None:
            rows.append(row)
            used[excerpt.document] += 1
    return rows


def _names(code: str) -> set[str]:
    return set(NAME.findall(code)) - COMMON_NAMES


def assignment_items(documents: Sequence[Document], draw: random.Random, count: int) -> list[AssignmentRow]:
    """Generation: the value of a constructor's first assignment, ``self.<first parameter> =``.

    Class names and parameters come from held-out code, in new combinations. Only the first parameter is asked for: a
    model of a few million parameters hardly ever stores the others, so that every model would score 0.

    Args:
        documents: documents of the held-out split of ``code``.
        draw: generator that draws names and their number.
        count: number of items.

    Returns:
        Rows whose ``parameters`` holds only the first parameter.
    """
    names = sorted({name for document in documents for name in _parameters(document.text)})
    classes = sorted({name for document in documents for name in CLASS.findall(document.text)})
    rows: list[AssignmentRow] = []
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
