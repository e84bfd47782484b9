"""Items of the number tasks, in the wording and layout of the built-in ``math`` source."""

import random
import re
from collections.abc import Iterator
from itertools import islice

from ream.calibration.problems.arithmetic import ARITHMETIC
from ream.calibration.problems.generator import TEMPLATES, problems
from ream.calibration.problems.problem import Problem, Template
from ream.evaluation.demo.choices import with_distractors
from ream.evaluation.demo.rows import AnswerRow, ChoiceRow

WORD_PROBLEMS = tuple(template for template in TEMPLATES if template not in ARITHMETIC)
RESULT = re.compile(r"(.*) (\d+)(\D*)", re.DOTALL)

SOLUTION_CHARS = 70  # 34 tokens of the demo model with the end: all that a model that goes wrong gets to write


def different(draw: random.Random, templates: tuple[Template, ...]) -> Iterator[Problem]:
    """Problems of the held-out split, each question once; searches forever when the templates have no new question."""
    asked = set[str]()
    for problem in problems("held-out", draw.getrandbits(32), templates):
        if problem.question not in asked:
            asked.add(problem.question)
            yield problem


def result_items(draw: random.Random, count: int) -> list[ChoiceRow]:
    """Multiple choice: the result of a sum, a difference or a product among near misses with as many digits."""
    rows = []
    for problem in different(draw, ARITHMETIC):
        context, _, end = split_result(problem)
        near = [str(number) for number in near_misses(problem.answer) if len(str(number)) == len(str(problem.answer))]
        row = with_distractors(context, f"{problem.answer}{end}", [f"{n}{end}" for n in near], draw, prefix=" ")
        if row is not None:
            rows.append(row)
        if len(rows) == count:
            break
    return rows


def word_problem_items(draw: random.Random, count: int) -> list[ChoiceRow]:
    """Multiple choice: the end of a word problem's solution and its answer, with the right number or a wrong one.

    The part of the solution before the number belongs to the context, because it would add the same to all four
    log-likelihoods. The wrong numbers are near misses with as many digits.
    """
    rows = []
    for problem in different(draw, WORD_PROBLEMS):
        context, number, end = split_result(problem)
        numbers = [n for n in near_misses(problem.answer) if len(str(n)) == len(number)]
        others = [f"{n}{end}\nAnswer: {n}" for n in numbers]
        row = with_distractors(context, f"{number}{end}\nAnswer: {number}", others, draw, prefix=" ")
        if row is not None:
            rows.append(row)
        if len(rows) == count:
            break
    return rows


def arithmetic_items(draw: random.Random, count: int) -> list[AnswerRow]:
    """Generation: the result of a sum, a difference or a product."""
    arithmetic = islice(different(draw, ARITHMETIC), count)
    return [{"context": split_result(problem)[0], "answer": str(problem.answer)} for problem in arithmetic]


def solution_items(draw: random.Random, count: int) -> list[AnswerRow]:
    """Generation: the worked solution of a word problem and its answer, at most SOLUTION_CHARS characters."""
    short = (p for p in different(draw, WORD_PROBLEMS) if len(f" {p.solution}\nAnswer: {p.answer}") <= SOLUTION_CHARS)
    return [{"context": f"Problem: {p.question}\nSolution:", "answer": str(p.answer)} for p in islice(short, count)]


def split_result(problem: Problem) -> tuple[str, str, str]:
    """The problem's text before the last number of the solution, that number, and the rest of the solution."""
    matched = RESULT.fullmatch(problem.solution)
    assert matched is not None, f"no number in the solution {problem.solution!r}"
    start, number, end = matched.groups()
    return f"Problem: {problem.question}\nSolution: {start}", number, end


def near_misses(number: int) -> list[int]:
    """What a slip makes of a number: off by one, two or ten, or its digits reversed; never negative."""
    swapped = int(str(number)[::-1])
    return [n for n in (number - 1, number + 1, number - 2, number + 2, number - 10, number + 10, swapped) if n >= 0]
