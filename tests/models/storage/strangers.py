"""Files as a stranger might make them: shards with any header, seeded mutations, and a limit of time to read them."""

import json
import signal
from contextlib import contextmanager

INTERESTING = [
    "0", "1", "-1", "7", "8", "9", "1.0", "1e2", "true", "null", "[]", "{}", '""', '"F32"', '"F16"', '"Z9"', "NaN",
    "[0]", "[0,4]", "[4,0]", "9223372036854775807", "9223372036854775808", "18446744073709551616", "[[2]]",
    '"\\ud800"', '"\\n"',
]  # fmt: skip


def shard(header, data):
    """The bytes of a safetensors file with a header (text, bytes or a value) and data (bytes, or their number)."""
    raw = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(raw).to_bytes(8, "little") + raw + (bytes(data) if isinstance(data, int) else data)


def entry(begin, end, shape=None, dtype="F32"):
    """A tensor's entry in a header; a vector of 32-bit floats unless a shape is given."""
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def mutated(text, draw):
    """JSON text with one change, drawn from a `random.Random`: a value, a character, or a piece lost or repeated."""
    place = draw.randrange(len(text))
    match draw.randrange(5):
        case 0:
            digits = [index for index, letter in enumerate(text) if letter.isdigit()]
            place = draw.choice(digits)
            return text[:place] + draw.choice("0123456789") + text[place + 1 :]
        case 1:
            return text[:place] + draw.choice('{}[]:,"0 \\\n\x00é') + text[place + 1 :]
        case 2:
            end = min(len(text), place + draw.randrange(1, 40))
            return text[:place] + text[end:]
        case 3:
            end = min(len(text), place + draw.randrange(1, 80))
            return text[:end] + text[place:]
        case _:
            return _with_another_value(text, draw)


def _with_another_value(text, draw):
    """JSON text in which one value, at any depth, is another one."""
    value = json.loads(text)
    spots = []

    def visit(table):
        for key in table if isinstance(table, dict) else range(len(table)):
            spots.append((table, key))
            if isinstance(table[key], dict | list):
                visit(table[key])

    visit(value)
    table, key = draw.choice(spots)
    table[key] = "@here@"
    return json.dumps(value, separators=(",", ":")).replace('"@here@"', draw.choice(INTERESTING))


@contextmanager
def within(seconds):
    """Fail if the block takes longer, even where it waits for a pipe."""

    def late(number, frame):
        raise TimeoutError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
