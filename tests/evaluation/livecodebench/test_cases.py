import base64
import os
import pickle
import zlib

import pytest

from ream.errors import UserError
from ream.evaluation.livecodebench import cases
from ream.evaluation.livecodebench.cases import Case, cases_of, pickled_string, unpacked
from tests.evaluation.livecodebench.problem_rows import method_row, packed, stdin_row


class Payload:
    """Its pickle runs a command when loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "[]", "ünï\n\U0001f600 \\u0041", "x" * 255, "y" * 70_000])
def test_a_packed_string_comes_back(text, protocol):
    assert unpacked(packed(text, protocol)) == text


def test_public_cases_come_first_and_private_ones_are_read_packed_or_plain():
    expected = [Case("1 5", "6"), Case("7 5\n", "12\n"), Case(f"{10**17} 5\n", f"{10**17 + 5}\n")]
    assert cases_of(stdin_row(5)) == cases_of(stdin_row(5, pack=False)) == expected
    assert cases_of(method_row(5)) == [Case("[1, 5]", "6"), Case("[]", "0")]


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    mark = tmp_path / "executed"
    row = stdin_row(5) | {"private_test_cases": packed(Payload(f"touch {mark}"))}
    pickle.loads(zlib.decompress(base64.b64decode(row["private_test_cases"])))  # noqa: S301 (what must not happen)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(UserError, match=r"problem 'abc5_a': private_test_cases cannot be read: a pickle of more than"):
        cases_of(row)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [["a"], ("a", "b"), b"a", 5, None, {"a": "b"}, print, Payload("true")],
    ids=lambda value: type(value).__name__,
)
def test_a_pickle_of_anything_but_one_string_is_refused(value):
    with pytest.raises(ValueError, match="a pickle of"):
        pickled_string(pickle.dumps(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no base64!", "neither JSON nor base64"),
        (base64.b64encode(b"not zlib").decode(), "neither JSON nor base64"),
        (packed("a" * 1000)[:36], "cut short"),
        (base64.b64encode(zlib.compress(pickle.dumps("a")[:-1])).decode(), "STOP"),
        (base64.b64encode(zlib.compress(b"")).decode(), "STOP"),
    ],
)
def test_what_is_damaged_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        unpacked(text)


def test_what_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(cases, "UNPACKED", 1000)
    assert unpacked(packed("a" * 900)) == "a" * 900
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        unpacked(packed("a" * 100_000))


@pytest.mark.parametrize("field", ['{"input": "1"}', '[{"input": "1"}]', '[{"input": 1, "output": "1"}]', "[1]"])
def test_cases_are_inputs_and_outputs(field):
    with pytest.raises(UserError, match="is not a list of inputs and outputs"):
        cases_of(stdin_row(5) | {"private_test_cases": field})


def test_a_problem_without_cases_would_be_passed_by_anything_and_is_refused():
    with pytest.raises(UserError, match="'abc5_a' has no test cases"):
        cases_of(stdin_row(5) | {"public_test_cases": "[]", "private_test_cases": "[]"})
