"""Exercises in geometry, equations, sequences, percentages and order."""

import random

from ream.calibration.problems.problem import Problem, Template


def _rectangle(r: random.Random) -> Problem:
    a, b = r.randint(2, 12), r.randint(2, 12)
    if r.random() < 0.5:
        return Problem(
            f"A rectangle is {a} cm wide and {b} cm long. What is its area?",
            f"The area is width times length. {a} * {b} = {a * b} square cm.",
            a * b,
        )
    return Problem(
        f"A rectangle is {a} cm wide and {b} cm long. What is its perimeter?",
        f"Width and length add up to {a} + {b} = {a + b}. The perimeter is 2 * {a + b} = {2 * (a + b)} cm.",
        2 * (a + b),
    )


def _equation(r: random.Random) -> Problem:
    a, x, b = r.randint(2, 9), r.randint(2, 12), r.randint(1, 30)
    return Problem(
        f"Solve {a} * x + {b} = {a * x + b} for x.",
        f"Subtract {b}: {a} * x = {a * x + b} - {b} = {a * x}. Divide by {a}: x = {a * x} / {a} = {x}.",
        x,
    )


def _sequence(r: random.Random) -> Problem:
    start, step = r.randint(1, 30), r.randint(2, 12)
    shown = [start + step * i for i in range(4)]
    following = shown[-1] + step
    return Problem(
        f"What is the next number in the sequence {', '.join(map(str, shown))}?",
        f"The numbers grow by {shown[1]} - {shown[0]} = {step}. {shown[-1]} + {step} = {following}.",
        following,
    )


def _percent(r: random.Random) -> Problem:
    percent, base = r.choice([10, 20, 25, 50]), r.randint(1, 20) * 20
    return Problem(
        f"What is {percent} percent of {base}?",
        f"{percent} percent is one part in {100 // percent}. {base} / {100 // percent} = {base * percent // 100}.",
        base * percent // 100,
    )


def _larger(r: random.Random) -> Problem:
    a, b, c = r.sample(range(10, 100), 3)
    largest = max(a, b, c)
    return Problem(
        f"Which is the largest of {a}, {b} and {c}?",
        f"In order the numbers are {', '.join(map(str, sorted((a, b, c))))}. The largest is {largest}.",
        largest,
    )


TEMPLATES: tuple[Template, ...] = (_rectangle, _equation, _sequence, _percent, _larger)
