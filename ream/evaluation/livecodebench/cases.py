"""The test cases of a LiveCodeBench row. The private ones are pickled; they are read without unpickling."""

import base64
import binascii
import pickletools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream.errors import UserError
from ream.machine.documents import parse_json

UNPACKED = 1 << 30  # maximum bytes of one row's private test cases
STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
AROUND = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"}  # what pickle writes around one string


@dataclass(frozen=True)
class Case:
    """A test case.

    Attributes:
        given: standard input, or one line of JSON for each argument of the function.
        expected: standard output, or the returned value as JSON.
    """

    given: str
    expected: str


def cases_of(row: Mapping[str, Any]) -> list[Case]:
    """All test cases of a problem, the public ones first, in the benchmark's order.

    Args:
        row: row of the data set, with ``public_test_cases`` and ``private_test_cases``.

    Raises:
        UserError: a field is malformed or there is no test case; nothing in the row was executed.
    """
    fields = ("public_test_cases", "private_test_cases")
    tests = [test for field in fields for test in _parsed(row[field], row["question_id"], field)]
    if not tests:
        raise UserError(f"problem '{row['question_id']}' has no test cases; fetch the data set again")
    return [Case(test["input"], test["output"]) for test in tests]


def _parsed(text: str, problem: str, field: str) -> list[dict[str, str]]:
    where = f"problem '{problem}': {field}"
    try:
        tests = parse_json(text, where)
    except UserError:
        try:
            tests = parse_json(unpacked(text), where)
        except ValueError as error:
            raise UserError(f"{where} cannot be read: {error}; fetch the data set again") from None
    well_formed = isinstance(tests, list) and all(
        isinstance(test, dict) and isinstance(test.get("input"), str) and isinstance(test.get("output"), str)
        for test in tests
    )
    if not well_formed:
        raise UserError(f"problem '{problem}': {field} is not a list of inputs and outputs; fetch the data set again")
    cases: list[dict[str, str]] = tests
    return cases


def unpacked(text: str) -> str:
    """The string s of base64(zlib(pickle(s))), the form in which the data set stores private test cases.

    Raises:
        ValueError: the text has another form, or unpacks to more than UNPACKED bytes.
    """
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), UNPACKED)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"neither JSON nor base64 of zlib data ({error})") from None
    if not stream.eof:
        raise ValueError(f"cut short, or more than {UNPACKED} bytes when unpacked")
    return pickled_string(data)


def pickled_string(data: bytes) -> str:
    """The string in a pickle of one string, read from the opcodes; nothing is imported, built or called.

    Raises:
        ValueError: the pickle holds anything but one string.
    """
    strings: list[str] = []
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name in STRINGS and not strings:
            strings.append(str(argument))
        elif opcode.name not in AROUND:
            raise ValueError(
                f"a pickle of more than one string ({opcode.name} at byte {position}), which is not loaded"
            )
    if not strings:
        raise ValueError("a pickle without a string")
    return strings[0]
