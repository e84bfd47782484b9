"""Word problems: a short story about people and things, and a question about it."""

import random

from ream.calibration.problems.problem import Problem, Template

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


TEMPLATES: tuple[Template, ...] = (
    _gets_more, _loses_some, _boxes, _share, _boxes_and_more, _cost, _comparison, _train, _age,
)  # fmt: skip
