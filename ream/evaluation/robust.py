"""A second score of tasks whose answer is a number, by an extractor that heeds how chat models write.

It stands beside the pinned metric and replaces nothing: published scores are of the pinned one. Of an answer the part
after the last ``</think>`` is read. Its number is, in this order: the one after the last ``####``; the one in the last
box (``\\boxed{…}``); the one after the last "answer is", "answer:" or "answer ="; the last number. Numbers are compared
as numbers: ``$18.00`` and ``\\boxed{18}`` equal 18, ``\\boxed{070}`` equals 70, ``1,200`` and ``1{,}200`` equal 1200.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from ream.evaluation.answer_faults import THINKING

DIGITS = 60  # of a number; more is not an answer
NUMBER = re.compile(r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])[-\u2212]?\.\d+")
QUOTIENT = r"(?<![\w.])[-\u2212]?\d+/\d+"
FRACTION = re.compile(r"([-\u2212]?)\s*\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
ANSWER = re.compile(r"\banswer\b(?:\s+is\b|\s*[:=])+", re.IGNORECASE)
# LaTeX within and around numbers that has no meaning for their value.
SPACING = (("{,}", ","), ("\\!", ""), ("\\,", ""), ("\\$", "$"), ("\\%", "%"), ("$", " "), ("*", " "))


class Extracted(NamedTuple):
    """What the extractor made of an answer.

    Attributes:
        correct: 1 if its number is the right one, else 0.
        found: whether there is a number.
    """

    correct: float
    found: bool


def extracted(answer: str, right: str) -> Extracted:
    """Whether an answer's number is the right one.

    Args:
        answer: the generated text.
        right: the right number, as text.
    """
    number = number_of(answer)
    return Extracted(float(number is not None and number == _value(_plain(right).strip())), number is not None)


def number_of(answer: str) -> Fraction | None:
    """The number of an answer; None where there is none."""
    for _, closing in THINKING:
        answer = answer.rpartition(closing)[2]
    marked = answer.rpartition("####")
    if marked[1] and (number := _first(marked[2])) is not None:
        return number
    if (box := _last_box(answer)) is not None and (number := _last(box)) is not None:
        return number
    said = list(ANSWER.finditer(answer))
    if said and (number := _first(answer[said[-1].end() :].split("\n\n")[0])) is not None:
        return number
    return _last(answer)


def _last_box(text: str) -> str | None:
    """The content of the last closed box; None where there is none."""
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth, begin = 0, start + len("\\boxed")
        for place in range(begin, len(text)):
            depth += (text[place] == "{") - (text[place] == "}")
            if depth == 0:
                return text[begin + 1 : place]
        start = text.rfind("\\boxed{", 0, start)
    return None


def _first(text: str) -> Fraction | None:
    return next(iter(_numbers(text)), None)


def _last(text: str) -> Fraction | None:
    return next(iter(reversed(_numbers(text))), None)


def _numbers(text: str) -> list[Fraction]:
    """The numbers in a text, in their order; a fraction of LaTeX is one number."""
    plain = FRACTION.sub(lambda found: f" {_quotient(*found.groups())} ", _plain(text))
    values = (_value(found[0]) for found in re.finditer(rf"{QUOTIENT}|{NUMBER.pattern}", plain))
    return [value for value in values if value is not None]


def _quotient(sign: str, top: str, bottom: str) -> str:
    """A fraction as text that `_value` reads."""
    return f"{'-' if sign else ''}{top}/{bottom}"


def _plain(text: str) -> str:
    for written, meant in SPACING:
        text = text.replace(written, meant)
    return text


def _value(number: str) -> Fraction | None:
    """The value of a number as text; None where it has none."""
    text = number.replace(",", "").replace("\u2212", "-")
    if len(text) > DIGITS:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _of_gsm8k(doc: Mapping[str, Any], answer: str) -> Extracted:
    return extracted(answer, str(doc["answer"]).rpartition("####")[2])


def _of_aime(doc: Mapping[str, Any], answer: str) -> Extracted:
    return extracted(answer, str(next(value for name, value in doc.items() if name.lower() == "answer")))


# Tasks that have a robust score.
ROBUST: Mapping[str, Callable[[Mapping[str, Any], str], Extracted]] = {
    "gsm8k": _of_gsm8k, "gsm8k_cot": _of_gsm8k, "gsm8k_cot_zeroshot": _of_gsm8k, "gsm8k_cot_llama": _of_gsm8k,
    "aime": _of_aime, "aime24": _of_aime, "aime25": _of_aime,
}  # fmt: skip
