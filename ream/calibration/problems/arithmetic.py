"""Plain arithmetic on one or two operations."""

import random

from ream.calibration.problems.problem import Problem, Template


def _sum(r: random.Random) -> Problem:
    a, b = r.randint(2, 99), r.randint(2, 99)
    return Problem(f"What is {a} + {b}?", f"{a} + {b} = {a + b}.", a + b)


def _difference(r: random.Random) -> Problem:
    a, b = sorted((r.randint(2, 99), r.randint(2, 99)), reverse=True)
    return Problem(f"What is {a} - {b}?", f"{a} - {b} = {a - b}.", a - b)


def _product(r: random.Random) -> Problem:
    a, b = r.randint(2, 12), r.randint(2, 12)
    return Problem(f"What is {a} * {b}?", f"{a} * {b} = {a * b}.", a * b)


def _quotient(r: random.Random) -> Problem:
    a, b = r.randint(2, 12), r.randint(2, 12)
    return Problem(f"What is {a * b} / {b}?", f"{b} * {a} = {a * b}, so {a * b} / {b} = {a}.", a)


def _sum_of_three(r: random.Random) -> Problem:
    a, b, c = r.randint(2, 40), r.randint(2, 40), r.randint(2, 40)
    return Problem(f"Add {a}, {b} and {c}.", f"{a} + {b} = {a + b}. Then {a + b} + {c} = {a + b + c}.", a + b + c)


ARITHMETIC: tuple[Template, ...] = (_sum, _difference, _product)
TEMPLATES: tuple[Template, ...] = (*ARITHMETIC, _quotient, _sum_of_three)
