"""A seeded generator of word problems with worked solutions: the built-in ``math`` source and the demo's math tasks.

A problem's split is the hash of its question, so no question of the calibration or held-out split occurs in training.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NAMES = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Farid",
    "Grace",
    "Hugo",
    "Iris",
    "Jonas",
    "Kira",
    "Liam",
    "Mina",
    "Noah",
    "Olga",
    "Pavel",
    "Rosa",
    "Sami",
    "Tara",
    "Viktor",
]
THINGS = [
    "apples",
    "books",
    "stamps",
    "marbles",
    "pencils",
    "shells",
    "coins",
    "stickers",
    "cards",
    "buttons",
    "tickets",
    "cookies",
]
CONTAINERS = ["boxes", "bags", "shelves", "baskets", "drawers", "crates"]


@dataclass(frozen=True)
class Problem:
    """A question, its worked solution (ending in the answer) and the answer, a whole number."""

    question: str
    solution: str
    answer: int

    @property
    def text(self) -> str:
        return f"Problem: {self.question}\nSolution: {self.solution}\nAnswer: {self.answer}"


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


def _gets_more(r: random.Random) -> Problem:
    name, friend = r.sample(NAMES, 2)
    thing, a, b = r.choice(THINGS), r.randint(5, 60), r.randint(3, 39)
    verb = r.choice(["gives", "sends", "lends"])
    return Problem(
        f"{name} has {a} {thing}. {friend} {verb} {name} {b} more {thing}. How many {thing} does {name} have now?",
        f"{name} starts with {a} {thing} and gets {b} more. {a} + {b} = {a + b}.",
        a + b,
    )


def _loses_some(r: random.Random) -> Problem:
    name, thing, a = r.choice(NAMES), r.choice(THINGS), r.randint(20, 99)
    b = r.randint(3, a - 1)
    verb = r.choice(["loses", "sells", "gives away", "uses"])
    return Problem(
        f"{name} has {a} {thing} and {verb} {b} of them. How many {thing} are left?",
        f"{name} had {a} {thing}. After {b} are gone, {a} - {b} = {a - b} are left.",
        a - b,
    )


def _boxes(r: random.Random) -> Problem:
    thing, container, a, b = r.choice(THINGS), r.choice(CONTAINERS), r.randint(2, 12), r.randint(2, 12)
    return Problem(
        f"There are {a} {container} with {b} {thing} in each. How many {thing} are there in all?",
        f"Each of the {a} {container} holds {b} {thing}. {a} * {b} = {a * b}.",
        a * b,
    )


def _share(r: random.Random) -> Problem:
    name, thing, a, b = r.choice(NAMES), r.choice(THINGS), r.randint(2, 12), r.randint(2, 10)
    return Problem(
        f"{name} shares {a * b} {thing} equally among {b} friends. How many {thing} does each friend get?",
        f"{a * b} {thing} are split into {b} equal parts. {a * b} / {b} = {a}.",
        a,
    )


def _boxes_and_more(r: random.Random) -> Problem:
    name, thing, container = r.choice(NAMES), r.choice(THINGS), r.choice(CONTAINERS)
    a, b, c = r.randint(2, 9), r.randint(2, 9), r.randint(2, 20)
    return Problem(
        f"{name} fills {a} {container} with {b} {thing} each and has {c} {thing} left over. "
        f"How many {thing} does {name} have?",
        f"In the {container} there are {a} * {b} = {a * b} {thing}. "
        f"With the {c} left over, {a * b} + {c} = {a * b + c}.",
        a * b + c,
    )


def _cost(r: random.Random) -> Problem:
    name, thing, a, b = r.choice(NAMES), r.choice(THINGS), r.randint(2, 9), r.randint(2, 9)
    paid = r.choice([n for n in (20, 50, 100) if n > a * b])
    return Problem(
        f"{name} buys {a} {thing} at {b} dollars each and pays with {paid} dollars. How much change does {name} get?",
        f"The {thing} cost {a} * {b} = {a * b} dollars. The change is {paid} - {a * b} = {paid - a * b} dollars.",
        paid - a * b,
    )


def _comparison(r: random.Random) -> Problem:
    name, friend = r.sample(NAMES, 2)
    thing, a, b = r.choice(THINGS), r.randint(3, 40), r.randint(2, 30)
    return Problem(
        f"{name} has {a} {thing}. {friend} has {b} more {thing} than {name}. How many {thing} do they have together?",
        f"{friend} has {a} + {b} = {a + b} {thing}. Together they have {a} + {a + b} = {2 * a + b}.",
        2 * a + b,
    )


def _train(r: random.Random) -> Problem:
    speed, hours = r.randint(2, 9) * 10, r.randint(2, 9)
    vehicle = r.choice(["train", "bus", "truck", "boat"])
    return Problem(
        f"A {vehicle} travels {speed} miles every hour. How many miles does it travel in {hours} hours?",
        f"Distance is speed times time. {speed} * {hours} = {speed * hours}.",
        speed * hours,
    )


def _age(r: random.Random) -> Problem:
    name, friend = r.sample(NAMES, 2)
    a, b, c = r.randint(5, 40), r.randint(2, 20), r.randint(2, 15)
    return Problem(
        f"{name} is {a} years old. {friend} is {b} years older. How old will {friend} be in {c} years?",
        f"{friend} is {a} + {b} = {a + b} years old now. In {c} years {friend} will be {a + b} + {c} = {a + b + c}.",
        a + b + c,
    )


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


TEMPLATES: tuple[Callable[[random.Random], Problem], ...] = (
    _sum, _difference, _product, _quotient, _sum_of_three, _gets_more, _loses_some, _boxes, _share, _boxes_and_more,
    _cost, _comparison, _train, _age, _rectangle, _equation, _sequence, _percent, _larger,
)  # fmt: skip
ARITHMETIC = (_sum, _difference, _product)


def split_of_question(question: str) -> str:
    """80% train, 10% calibration, 10% held-out, by SHA-256 of the question."""
    bucket = int.from_bytes(hashlib.sha256(question.encode()).digest()[:4], "big") % 10
    return "held-out" if bucket == 0 else "calibration" if bucket == 1 else "train"


def problems(
    split: str, seed: int, templates: tuple[Callable[[random.Random], Problem], ...] = TEMPLATES
) -> Iterator[Problem]:
    """Endless problems of one split; the same seed gives the same problems."""
    generator = random.Random(f"{split}/{seed}")
    while True:
        problem = generator.choice(templates)(generator)
        if split_of_question(problem.question) == split:
            yield problem


def worksheets(split: str, seed: int, per_sheet: int = 16) -> Iterator[str]:
    """Endless documents of ``per_sheet`` problems with their solutions (about 1000 tokens of the demo's tokenizer)."""
    stream = problems(split, seed)
    while True:
        yield "\n\n".join(next(stream).text for _ in range(per_sheet))
