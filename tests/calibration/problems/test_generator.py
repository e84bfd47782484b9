import itertools
import operator
import re
from fractions import Fraction

import pytest

from ream.calibration.problems.arithmetic import ARITHMETIC
from ream.calibration.problems.generator import TEMPLATES, problems, worksheets

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": Fraction}

# The answer read off the question alone: what a person would work out, template by template.
SOLVERS = [
    (r"What is (\d+) \+ (\d+)\?", lambda a, b: a + b),
    (r"What is (\d+) - (\d+)\?", lambda a, b: a - b),
    (r"What is (\d+) \* (\d+)\?", lambda a, b: a * b),
    (r"What is (\d+) / (\d+)\?", Fraction),
    (r"Add (\d+), (\d+) and (\d+)\.", lambda a, b, c: a + b + c),
    (r"(\w+) has \d+ .*\. \w+ \w+ \1 \d+ more \w+\. How many \w+ does \1 have now\?", lambda a, b: a + b),
    (r"\w+ has \d+ \w+ and [a-z ]+ \d+ of them\. How many \w+ are left\?", lambda a, b: a - b),
    (r"There are \d+ \w+ with \d+ (\w+) in each\. How many \1 are there in all\?", lambda a, b: a * b),
    (r"\w+ shares \d+ (\w+) equally among \d+ friends\. How many \1 does each friend get\?", Fraction),
    (r"\w+ fills \d+ \w+ with \d+ \w+ each and has \d+ \w+ left over\. .*", lambda a, b, c: a * b + c),
    (r"\w+ buys \d+ \w+ at \d+ dollars each and pays with \d+ dollars\. .*", lambda a, b, c: c - a * b),
    (r"(\w+) has \d+ \w+\. \w+ has \d+ more \w+ than \1\. How many \w+ .* together\?", lambda a, b: a + (a + b)),
    (r"A \w+ travels \d+ miles every hour\. How many miles .* in \d+ hours\?", lambda a, b: a * b),
    (r"\w+ is \d+ years old\. (\w+) is \d+ years older\. How old will \1 be .*", lambda a, b, c: a + b + c),
    (r"A rectangle is \d+ cm wide and \d+ cm long\. What is its area\?", lambda a, b: a * b),
    (r"A rectangle is \d+ cm wide and \d+ cm long\. What is its perimeter\?", lambda a, b: a + b + a + b),
    (r"Solve \d+ \* x \+ \d+ = \d+ for x\.", lambda a, b, c: Fraction(c - b, a)),
    (r"What is the next number in the sequence [\d, ]+\?", lambda a, b, c, d: d + (d - c)),
    (r"What is \d+ percent of \d+\?", lambda a, b: Fraction(a * b, 100)),
    (r"Which is the largest of \d+, \d+ and \d+\?", lambda *numbers: max(numbers)),
]


@pytest.fixture(scope="module")
def many():
    return [*itertools.islice(problems("train", 0), 6000), *itertools.islice(problems("held-out", 5), 1000)]


def test_answers_are_those_of_the_questions(many):
    used = set()
    for problem in many:
        matching = [index for index, (pattern, _) in enumerate(SOLVERS) if re.fullmatch(pattern, problem.question)]
        assert len(matching) == 1, problem.question
        used.add(matching[0])
        assert SOLVERS[matching[0]][1](*map(int, re.findall(r"\d+", problem.question))) == problem.answer, problem
    assert used == set(range(len(SOLVERS)))
    assert len(SOLVERS) == len(TEMPLATES) + 1  # the rectangle asks two questions


def test_arithmetic_of_the_solutions_is_right(many):
    for problem in many:
        steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", problem.solution)
        assert steps or problem.question.startswith("Which is the largest"), problem
        for a, operation, b, result in steps:
            assert OPERATIONS[operation](int(a), int(b)) == int(result), problem
        assert int(re.findall(r"\d+", problem.solution)[-1]) == problem.answer, problem
        assert problem.text.endswith(f"\nAnswer: {problem.answer}")


def test_no_question_is_in_two_splits():
    questions = {
        split: {problem.question for problem in itertools.islice(problems(split, seed), 4000)}
        for seed, split in enumerate(["train", "calibration", "held-out"])
    }
    for one, other in itertools.combinations(questions.values(), 2):
        assert not one & other


def test_seed_and_templates():
    first, again, other = (list(itertools.islice(worksheets("train", seed), 3)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert [sheet.count("Problem: ") for sheet in first] == [16, 16, 16]
    for problem in itertools.islice(problems("calibration", 0, ARITHMETIC), 50):
        assert re.fullmatch(r"What is \d+ [-+*] \d+\?", problem.question)
