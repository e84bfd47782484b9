"""The one error meant for a person: a line that says what was given, what is allowed and what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong input. The command line prints the message, without a traceback, and exits with code 2."""


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
