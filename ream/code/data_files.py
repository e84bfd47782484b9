"""Files of the package that its code reads, such as templates: found by the names that stand in the reading module."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGEST = 100  # characters of a string that may name a file


def files_read(package: Path, folder: Path, strings: Iterable[str]) -> set[Path]:
    """The files that a module may read; Python files among them may be run as programs.

    They are the files other than Python's beside the module, and what a string of the module names, as a path from the
    module's folder or one above it, or as a package: a file, or the files other than Python's in a folder.

    Args:
        package: folder of the whole package.
        folder: folder of the module.
        strings: string constants of the module.
    """
    around = [each for each in (folder, *folder.parents) if each.is_relative_to(package)]
    found = set(_beside_code(folder))
    for string in strings:
        if not string or len(string) > LONGEST or string[0] in "./" or "\0" in string:
            continue
        dotted = package.parent / string.replace(".", "/")
        for path in (dotted, *(each / string for each in around)):
            if path.is_file() and path.is_relative_to(package):
                found.add(path)
            elif path.is_dir() and path.is_relative_to(package) and path != package:
                found.update(_beside_code(path))
    return found


def _beside_code(folder: Path) -> Iterator[Path]:
    """The files other than Python's in a folder, and in folders below it that are not packages themselves."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from _beside_code(path)
        elif path.is_file() and path.suffix not in {".py", ".pyc"} and not path.name.startswith("."):
            yield path


def names_in(content: bytes, package: str) -> set[str]:
    """Dotted names of the package in a text file, as in ``!function package.module.function`` of YAML."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return set()
    return set(re.findall(rf"\b{re.escape(package)}(?:\.\w+)+", text))
