"""The header of a safetensors file, read and checked by the rules of the format, as safetensors' own reader has them.

A file is 8 bytes (the header's length, little-endian), the header (JSON: name to dtype, shape and data_offsets), and
the data. The same checks are made for files on disk and for ranges that the hub sends.
"""

import json
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

from ream.errors import UserError
from ream.models.stored_dtypes import STORED

METADATA = "__metadata__"
LONGEST = 100_000_000  # bytes of a header that the format allows
LIMIT = 1 << 63  # above every number that a header may hold
SHOWN = 200  # characters of a value from a file that a message shows
SMALL_FLOATS = ("F8_E8M0", "F4", "F6_E2M3", "F6_E3M2")  # scales and codes of MX formats; DeepSeek-V4 as published
QUANTISED = ": dequantise the checkpoint to bfloat16 first"


class Entry(NamedTuple):
    """What a header says of a tensor.

    Attributes:
        name: of the tensor.
        dtype: a key of STORED.
        shape: of the tensor.
        begin: position of its first byte in the data.
        end: position after its last byte in the data.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(where: str, size: int, read: Callable[[int, int], bytes]) -> bytes:
    """The JSON at the start of a safetensors file.

    Args:
        where: the file's name, for messages.
        size: of the file, in bytes.
        read: reads the file's bytes from one position to another.

    Raises:
        UserError: the file is shorter than its header says, or the header is longer than the format allows.
    """
    length = int.from_bytes(read(0, 8), "little")
    if length > size - 8:
        raise broken(where, size, "its header does not fit into the file")
    if length > LONGEST:
        raise broken(where, size, f"its header has {length:,} bytes, the format allows {LONGEST:,}")
    raw = read(8, 8 + length)
    if len(raw) != length:
        raise broken(where, size, "it ends within its header")
    return raw


def entries_of(where: str, raw: bytes, size: int) -> list[Entry]:
    """The tensors of a file, in the order of their data.

    The tensors must cover the data from its start to the end of the file, without a hole and without an overlap, and
    each must have the size that its dtype and shape give.

    Args:
        where: the file's name, for messages.
        raw: its header.
        size: of the file, in bytes.

    Raises:
        UserError: the header breaks a rule of the format, or a dtype is not supported; names file, tensor and rule.
    """
    header = _parsed(where, raw, size)
    metadata = header.pop(METADATA, None)
    if metadata is not None and not _is_text_table(metadata):
        raise broken(where, size, f"{METADATA} is not an object of strings")
    entries = [_entry(where, name, value) for name, value in header.items()]
    entries.sort(key=itemgetter(3, 4))  # by begin and end
    last = 0
    for entry in entries:
        if entry.begin != last:
            what = "overlaps the tensor before it" if entry.begin < last else "leaves a hole"
            _refuse(where, entry.name, f"it {what}: it begins at byte {entry.begin} of the data, not at {last}")
        last = entry.end
    if 8 + len(raw) + last != size:
        raise broken(where, size, f"its header describes {8 + len(raw) + last} bytes")
    return entries


def broken(where: str, size: int, rule: str) -> UserError:
    """The error for a shard that is truncated or corrupt.

    Args:
        where: the file's name.
        size: of the file, in bytes.
        rule: what is wrong, as a clause.
    """
    return UserError(f"{where} is truncated or corrupt ({size} bytes): {rule}; fetch that shard again")


def _parsed(where: str, raw: bytes, size: int) -> dict[str, Any]:
    """The object that a header is."""
    if not raw.startswith(b"{"):
        raise broken(where, size, "its header does not begin with '{'")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise broken(where, size, "its header is nested too deeply") from None
    except ValueError as error:  # of the JSON, its encoding, a hook, or a number of thousands of digits
        raise broken(where, size, f"its header is not valid JSON ({error})") from None
    assert isinstance(header, dict)  # it begins with {
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must differ; of equal ones, Python's reader would take the last without a word."""
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the name {shown(twice)} is there twice")
    return table


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's reader takes for JSON."""
    raise ValueError(f"{name} is not JSON")


def _is_text_table(value: object) -> bool:
    """Whether a value is an object of strings, all of which UTF-8 can encode."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        return False
    try:
        "".join((*value, *value.values())).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _entry(where: str, name: str, value: object) -> Entry:
    """What a header says of one tensor."""
    if not name.isprintable():
        _refuse(where, name, "its name has characters that cannot be printed")
    if not isinstance(value, dict):
        _refuse(where, name, "it is not described by an object of dtype, shape and data_offsets")
    dtype, shape, offsets = value.get("dtype"), _sizes(value.get("shape")), _sizes(value.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in STORED:
        raise UserError(
            f"{where}: {shown(name)} has dtype {shown(dtype)}; supported are {', '.join(STORED)}"
            + (QUANTISED if dtype in SMALL_FLOATS else "")
        )
    if shape is None:
        _refuse(where, name, "its shape is not a list of whole numbers from 0 on")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(where, name, "its data_offsets are not two whole numbers, the first at most the second")
    needed = STORED[dtype].bytes
    for length in shape:
        needed *= length
        if needed >= LIMIT:
            _refuse(where, name, "its shape is too large")
    begin, end = offsets
    if end - begin != needed:
        _refuse(where, name, f"it has {end - begin} bytes, but {dtype} {shown(shape)} needs {needed}")
    return Entry(name, dtype, tuple(shape), begin, end)


def _sizes(value: object) -> list[int] | None:
    """A value that is a list of whole numbers from 0 on, which 63 bits hold; None for any other (true is no number)."""
    if not isinstance(value, list):
        return None
    for item in value:
        if type(item) is not int or not 0 <= item < LIMIT:
            return None
    return value


def _refuse(where: str, name: str, rule: str) -> NoReturn:
    """Raise the error for a tensor that breaks a rule."""
    raise UserError(f"{where}: {shown(name)}: {rule}; fetch that shard again")


def shown(value: object) -> str:
    """A value from a file as a message shows it: one printable line, and not too long."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
