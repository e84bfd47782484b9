"""Arguments of the Python API in the form of the command line's: settings, mixes and texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Say = Callable[[str], None]
Text = str | Path | Sequence[str | Path]


class Lines:
    """Lines that a command says, kept and handed on."""

    def __init__(self, say: Say | None) -> None:
        """Args:
        say: called with each line; None: nobody is told.
        """
        self.kept: list[str] = []
        self._say = say

    def __call__(self, line: str) -> None:
        """Keep a line and hand it on."""
        self.kept.append(line)
        if self._say is not None:
            self._say(line)


def texts_of(text: Text) -> tuple[str, ...]:
    """Texts as the option --text takes them; one alone may be given without a list."""
    return (str(text),) if isinstance(text, str | Path) else tuple(map(str, text))


def mix_of(mix: str | Mapping[str, float] | None) -> str | None:
    """A mix as the option --mix takes it: a name, or ratios."""
    if mix is None or isinstance(mix, str):
        return mix
    return ",".join(f"{source}={float(ratio)!r}" for source, ratio in mix.items())


def settings_of(settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Settings as the option --set takes them; values are written as JSON, which is YAML."""
    return tuple(f"{name}={json.dumps(value, default=str)}" for name, value in (settings or {}).items())


def path_of(path: str | Path | None) -> Path | None:
    """A path, or None where none is given."""
    return None if path is None else Path(path)
