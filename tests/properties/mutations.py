"""Mutations of JSON, YAML and bytes, drawn by hypothesis, and what must come of every one of them."""

import copy
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ream.errors import LONGEST, UserError
from tests.models.storage.strangers import within

SECONDS = 10.0  # that any case may take
QUICK, LONG = 0.4, 25  # times as many cases in the default run and in the long one
# Pieces of JSON that stand in the place of a value.
PIECES = [
    "null", "true", "false", "0", "1", "-1", "2", "3", "7", "1.0", "0.5", "1e400", "-1e400", "NaN", "Infinity", "1000",
    "65537", "2147483648", "9223372036854775808", "18446744073709551616", "9" * 400, "9" * 5000, '""', '"x"', '"F32"',
    '"\\ud800"', '"\\u0000"', '"\\u001b[2J\\n"', '"../x"', '"/etc/passwd"', '"' + "n" * 5000 + '"', "[]", "[1]",
    '["x"]', "[null]", "[[]]", "[-1,2]", "{}", '{"x":1}', '{"a":{"a":{}}}', "[" * 60 + "]" * 60,
    "[" * 3000 + "]" * 3000,
]  # fmt: skip
KEYS = ["", "x", "type", "__metadata__", "a.b", "\n", "é"]


def spots(value, path=()):
    """The paths to every value inside of a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from spots(item, (*path, key))


def table_at(value, path):
    """The table or list that holds the value at a path; None if an earlier change has removed it."""
    for key in path[:-1]:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    inside = isinstance(value, dict) and path[-1] in value
    return (
        value if inside or (isinstance(value, list) and isinstance(path[-1], int) and path[-1] < len(value)) else None
    )


@st.composite
def json_texts(draw, value, keys=None):
    """The text of a JSON value after one to three changes: of values, keys, or characters.

    Args:
        draw: of hypothesis.
        value: to be changed.
        keys: draw one of these top-level keys first, then a place below it; None draws from all places alike.
    """
    changed, pieces = copy.deepcopy(value), []
    places = list(spots(value))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        below = [path for path in places if path[0] == draw(st.sampled_from(keys))] if keys else places
        path = draw(st.sampled_from(below or places))
        table = table_at(changed, path)
        if table is None:
            continue
        match draw(st.sampled_from(["piece", "piece", "number", "remove", "copy", "rename"])):
            case "piece":
                table[path[-1]] = f"@{len(pieces)}@"
                pieces.append(draw(st.sampled_from(PIECES)))
            case "number" if isinstance(table[path[-1]], int | float):
                table[path[-1]] += draw(st.sampled_from([-1, 1, 0.5, 100, -1000]))
            case "remove":
                del table[path[-1]]
            case "copy":
                other = draw(st.sampled_from(places))
                source = table_at(changed, other)
                table[path[-1]] = copy.deepcopy(source[other[-1]]) if source is not None else None
            case "rename" if isinstance(table, dict):
                table[draw(st.sampled_from(KEYS)) or "y"] = table.pop(path[-1])
    text = json.dumps(changed)
    for number, piece in enumerate(pieces):
        text = text.replace(f'"@{number}@"', piece)
    return draw(spliced(text)) if draw(st.integers(0, 4)) == 0 else text


@st.composite
def spliced(draw, text):
    """A text, or bytes, of which a piece is lost, repeated or another one."""
    begin = draw(st.integers(0, len(text)))
    end = min(len(text), begin + draw(st.sampled_from([0, 1, 1, 2, 8, 64, 100_000])))
    again = text[begin:end] * draw(st.sampled_from([0, 0, 2, 50]))
    if isinstance(text, bytes):
        new = draw(st.binary(max_size=8))
    else:
        new = draw(st.sampled_from(["", "", "{", "}", "[", ",", ":", '"', "\\", "0", "-", "\n", "\x00", "&a *a", "é"]))
    return text[:begin] + again + new + text[end:]


class Outcomes:
    """How many cases gave a result, and how many a line."""

    def __init__(self):
        self.results, self.lines, self.reasons = 0, 0, Counter()


def run(check, strategy, cases, outcomes=None):
    """Run a check on drawn cases; each must end in time, with a result or with one printable line.

    Args:
        check: takes a case, raises UserError for what it refuses, and asserts that a result is right.
        strategy: of the cases.
        cases: their number; the same ones in every run.
        outcomes: to count in.
    """
    outcomes = outcomes or Outcomes()

    @settings(
        max_examples=cases, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip
    @given(strategy)
    def one(case):
        try:
            with within(SECONDS):
                check(case)
        except UserError as error:
            outcomes.lines += 1
            line = str(error)
        else:
            outcomes.results += 1
            line = "a right result"
        assert line.isprintable()
        assert 10 < len(line) <= LONGEST + 1

    one()
    return outcomes


def cases(number):
    """Of a number of cases, a part in the default run and many times as many in the long one."""
    long = pytest.param(number * LONG, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("cases", [pytest.param(int(number * QUICK), id="quick"), long])
