"""Text files of the Python installation: its reference documentation and the standard library's sources."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sysconfig
from email.message import Message
from functools import cache
from pathlib import Path
from typing import cast

# Packages whose docstrings are reference documentation; all of them come with ream's own dependencies.
DOCUMENTED_PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "sklearn",
    "matplotlib",
    "networkx",
    "sympy",
    "torch",
    "transformers",
)
# Packages whose descriptions are left out: ream itself, and what only its tests need, so that the text does not change
# with the tools of the tests.
UNDOCUMENTED = {"ream", "compressed-tensors", "hypothesis", "loguru"}
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"}
# Modules of the encodings package that are tables of 256 characters: bytes, not code.
TABLE = re.compile(r"encodings[/\\](cp|iso|mac|koi|ptcp|tis|hp_roman|kz)")

Content = Path | str  # a file, or the text itself


@cache
def installed() -> str:
    """SHA-256 of the versions of Python and of the packages that the built-in text is read from."""
    versions = {
        distribution.metadata["Name"]: distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"] not in UNDOCUMENTED
    }
    named = {"python": platform.python_version(), **versions}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


@cache
def documentation_files() -> tuple[tuple[str, Content], ...]:
    """Reference documentation, sorted by label: language topics, package descriptions, modules with docstrings.

    Looked for once in a process, which takes half a second.
    """
    from pydoc_data.topics import topics

    files: list[tuple[str, Content]] = [(f"topics/{key}", topics[key]) for key in sorted(topics)]
    for distribution in importlib.metadata.distributions():
        name, description = distribution.metadata["Name"], cast(Message, distribution.metadata).get_payload()
        if isinstance(description, str) and description.strip() and name not in UNDOCUMENTED:
            files.append((f"description/{name}", description))
    for package in DOCUMENTED_PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            root = Path(spec.origin).parent
            files += [(f"{package}/{label}", path) for label, path in _python_files(root)]
    return tuple(sorted(files, key=lambda item: item[0]))


def code_files() -> list[tuple[str, Content]]:
    """The Python files of the standard library with their paths in it, in no particular order."""
    return [*_python_files(Path(sysconfig.get_paths()["stdlib"]))]


def _python_files(root: Path) -> list[tuple[str, Path]]:
    """Python files below a folder with their paths in it, in no particular order.

    Path objects are made for these files alone, because the folders hold tens of thousands of others.
    """
    files = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        for name in names:
            path = f"{folder}{os.sep}{name}"
            if name.endswith(".py") and not TABLE.search(path):
                files.append((path[len(str(root)) + 1 :], Path(path)))
    return files
