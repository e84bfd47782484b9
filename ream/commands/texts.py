"""Text of one's own, as the option --text names it: PATH, PATH:COLUMN, PATH=NAME or PATH:COLUMN=NAME."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ream.errors import UserError

OPTION = "--text"
HELD_OUT = 0.1  # of the text is held out from calibration, and is what losses are measured on
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ENDINGS = (".gz", ".zst")


class OwnText(NamedTuple):
    """A text of one's own: its name as a source, its path, and the column of its rows (None: the usual one)."""

    name: str
    path: str
    column: str | None


def own_text(given: str) -> OwnText:
    """What a value of --text names. A path that exists as it is written is taken so, whatever signs it has.

    Without a name the text is called as its file or folder, without extensions.

    Raises:
        UserError: there is nothing at the path, or the name has characters that names cannot have.
    """
    path, name, column = given, None, None
    if not _exists(path):
        head, equals, tail = path.rpartition("=")
        if equals:
            path, name = head, tail
    if not _exists(path):
        head, colon, tail = path.rpartition(":")
        if colon and "/" not in tail:
            path, column = head, tail
    if name is not None and not NAME.fullmatch(name):
        raise UserError(f"{OPTION}: '{name}' in '{given}' is not a name; use letters, digits, '.', '_' and '-' only")
    if column == "":
        raise UserError(
            f"{OPTION}: '{given}' names no column behind its ':'; write {path}:COLUMN, or leave the ':' out"
        )
    if not _exists(path):
        raise UserError(
            f"{OPTION}: {path} does not exist; give a file, a folder or a glob pattern, with :COLUMN and =NAME behind "
            "it where you need them"
        )
    return OwnText(name or _named(path), path, column)


def text_sources(texts: Sequence[str], whole: bool = False) -> dict[str, dict[str, Any]]:
    """The values of --text as entries of the section sources; several paths of one name are one source.

    Long documents give several sequences, and HELD_OUT of the text is held out from calibration.

    Args:
        texts: as `own_text` reads them.
        whole: hold all of the text out, to measure on all of it.

    Raises:
        UserError: see `own_text`; two texts without names of their own are called alike, or the texts of one name have
            different columns.
    """
    sources: dict[str, dict[str, Any]] = {}
    unnamed: set[str] = set()
    for text in texts:
        name, path, column = own_text(text)
        entry = sources.setdefault(name, {"kind": "files", "paths": [], "windows": "all"})
        if path in entry["paths"]:
            raise UserError(f"{OPTION}: {path} is given twice; give it once")
        implicit = not text.endswith(f"={name}")
        if entry["paths"] and (implicit or name in unnamed):
            raise UserError(f"{OPTION}: two texts are called '{name}'; name them, as in {path}=NAME")
        if entry["paths"] and entry.get("column") != column:
            raise UserError(f"{OPTION}: the texts called '{name}' have different columns; give them different names")
        entry["paths"].append(path)
        entry["held_out"] = 1 if whole else HELD_OUT
        if column is not None:
            entry["column"] = column
        if implicit:
            unnamed.add(name)
    return sources


def _exists(path: str) -> bool:
    """Whether there is a file or folder at a path, or a glob pattern matches one."""
    expanded = Path(path).expanduser()
    return bool(path) and (
        expanded.exists() or (glob.has_magic(path) and bool(glob.glob(str(expanded), recursive=True)))
    )


def _named(path: str) -> str:
    """The name of a text without one of its own: its file or folder, or the last folder before a pattern's signs."""
    parts = [part for part in Path(path).expanduser().absolute().parts if not glob.has_magic(part)]
    name = Path(parts[-1]).name
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    stem = Path(name).stem if Path(path).is_file() or not glob.has_magic(path) else name
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return cleaned or "text"
