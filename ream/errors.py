"""The one error meant for a person: a printable line that says what was given, what is allowed and what to do."""

import difflib
from collections.abc import Iterable

LONGEST = 4_000  # characters of a message
# What transformers raises, wherever in its code, about files and values of a stranger's model that it cannot use.
UNUSABLE = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NotImplementedError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip


def printable(text: str) -> str:
    """A text as one line of a terminal, whoever wrote it: what is not printable is escaped, and what is long, cut.

    Names and values from files may have line breaks, or sequences by which a terminal does what a stranger wants.
    """
    line = (
        text
        if text.isprintable()
        else "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode()
            for letter in text[: LONGEST + 1]
        )
    )
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def one_line(error: object, most: int = 300) -> str:
    """What an error says, without line breaks and without a full stop at its end.

    Args:
        error: of a library.
        most: characters; what is longer is cut.
    """
    return " ".join(str(error).split())[:most].rstrip(".")


class UserError(Exception):
    """Wrong input. The command line prints the message, without a traceback, and exits with code 2."""

    def __init__(self, message: str) -> None:
        """Args:
        message: one line, in which what is not printable is escaped.
        """
        super().__init__(printable(message))


class NotMixtureError(UserError):
    """A model is not a Mixture-of-Experts model."""


def unknown(kind: str, name: str, allowed: Iterable[str], where: str) -> UserError:
    """The error for an unknown name, with the nearest allowed one.

    Args:
        kind: of thing that the name stands for.
        name: as given.
        allowed: the allowed names.
        where: the place that lists them.
    """
    names = sorted(allowed)
    # allowed names share a dotted path, so only their last parts are compared
    last = {known.rsplit(".", 1)[-1]: known for known in names}
    near = [last[part] for part in difflib.get_close_matches(name.rsplit(".", 1)[-1], last, n=1, cutoff=0.5)]
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"{kind} '{name}' is unknown; {hint}{where} has: {', '.join(names) or 'none'}")
