"""The one error a person is meant to see: a line that names the thing, what is allowed and what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The command line prints its message alone and exits with code 2."""


def unknown(kind: str, name: str, allowed: Iterable[str], where: str) -> UserError:
    """An error for a name that is not one of ``allowed``, with the nearest valid one."""
    names = sorted(allowed)
    # of names that share a dotted path, only the last parts are compared
    last = {known.rsplit(".", 1)[-1]: known for known in names}
    near = [last[part] for part in difflib.get_close_matches(name.rsplit(".", 1)[-1], last, n=1, cutoff=0.5)]
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"{kind} '{name}' is unknown; {hint}{where} has: {', '.join(names) or 'none'}")
