"""One entry of dvc.lock replaced without reading the others.

DVC parses and writes the whole file for every stage, with a parser that keeps comments. With 240 stages that takes over
a second, all of it under DVC's lock.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ream.machine.files import replacing

HEAD = ["schema: '2.0'", "stages:"]  # the first lines of dvc.lock; each entry's first line is indented by two spaces


def write_entry(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Put a stage's entry into dvc.lock; the file then has the bytes that DVC's own `Lockfile.dump_stages` leaves.

    A new entry comes last. A file that DVC would not have written like this, edited by hand for example, is left to
    DVC's own parser.

    Args:
        path: of dvc.lock; it need not exist.
        name: the stage.
        entry: what `dvc.stage.serialize.to_lockfile` gives for the stage.
    """
    from dvc.utils.serialize import dumps_yaml, modify_yaml

    lines = _lines(path.read_text(encoding="utf-8")) if path.exists() else HEAD
    spliced = _splice(lines, _lines(dumps_yaml({"stages": {name: entry}}))[1:])
    if spliced is not None:
        if spliced != lines:
            with replacing(path) as temporary:
                temporary.write_text("\n".join([*spliced, ""]), encoding="utf-8")
        return
    with modify_yaml(path) as whole:
        whole.setdefault("schema", "2.0")
        whole.setdefault("stages", {})[name] = dict(entry)


def _lines(text: str) -> list[str]:
    """The lines of a text, which ends with the last one."""
    return text.removesuffix("\n").split("\n")


def _splice(lines: list[str], entry: list[str]) -> list[str] | None:
    """The lines of dvc.lock with those of an entry in the place of its earlier ones, else at the end.

    Args:
        lines: of dvc.lock.
        entry: lines of the entry.

    Returns:
        The new lines; None if the file does not have DVC's form.
    """
    body = lines[len(HEAD) :]
    if lines[: len(HEAD)] != HEAD or any(not line.startswith("  ") or line.lstrip().startswith("#") for line in body):
        return None
    starts = [number for number, line in enumerate(body) if not line.startswith("   ")]
    if any(not body[start].endswith(":") for start in starts) or (body and starts[:1] != [0]):
        return None
    for start, end in pairwise([*starts, len(body)]):
        if body[start] == entry[0]:
            return [*HEAD, *body[:start], *entry, *body[end:]]
        if _name(body[start]) == _name(entry[0]):  # quoted otherwise
            return None
    return [*lines, *entry]


def _name(line: str) -> str:
    """The stage whose entry begins with a line, such as ``  'name':``."""
    return line.strip().removesuffix(":").strip("'\"")
