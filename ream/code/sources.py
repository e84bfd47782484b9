"""The modules of a package by their names, each read and parsed once; a cache keeps what was parsed."""

import hashlib
import json
import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from ream.code.modules import Module, from_json, parse
from ream.errors import UserError

CACHE = "modules.json"
KEPT = 2000  # modules in the cache before those that are not in use are dropped


class Sources:
    """The sources of a package."""

    def __init__(self, package: Path, cache: Path | None = None) -> None:
        """Name the sources; nothing is read yet.

        Args:
            package: folder of the package, whose name is that of the folder.
            cache: folder of the cache; None for no cache.
        """
        self.package, self.name = package, package.name
        self._cache = cache
        self._modules: dict[str, Module] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._parsed = False

    def has(self, module: str) -> bool:
        """Whether there is a module or a package of that dotted name."""
        return module in self._files

    def module(self, name: str) -> Module:
        """A module by its dotted name; a folder without __init__.py is an empty one.

        Raises:
            UserError: its source is not Python.
        """
        if name not in self._modules:
            path = self._files[name]
            if path.endswith(".py"):
                with open(path, "rb") as file:
                    source = file.read()
                around = name if path.endswith(f"{os.sep}__init__.py") else name.rpartition(".")[0]
                self._modules[name] = self._parse(source, around, path)
            else:
                self._modules[name] = parse(b"", name)
        return self._modules[name]

    def folder(self, module: str) -> Path:
        """The folder of a module's file."""
        path = Path(self._files[module])
        return path.parent if path.suffix == ".py" else path

    def save(self) -> None:
        """Write the cache, if there is one and a module was parsed that it does not have.

        Raises:
            UserError: the folder cannot be written.
        """
        if self._cache is None or not self._parsed:
            return
        from ream.machine.files import replacing

        modules = self._kept if len(self._stored) > KEPT else self._stored | self._kept
        with replacing(self._cache / CACHE) as temporary:
            temporary.write_text(json.dumps({"made_by": _own_digest(), "modules": modules}), encoding="utf-8")
        self._parsed = False

    @cached_property
    def _files(self) -> dict[str, str]:
        """Dotted names of modules to their files, and of packages without an __init__.py to their folders."""
        files = {}
        start = len(str(self.package.parent)) + 1
        for folder, _, names in os.walk(self.package):
            around = folder[start:].replace(os.sep, ".")
            modules = {name.removesuffix(".py"): f"{folder}{os.sep}{name}" for name in names if name.endswith(".py")}
            if "__init__" in modules or around not in files:  # a module comes before a folder without one
                files[around] = modules.pop("__init__", folder)
            files |= {f"{around}.{name}": path for name, path in modules.items()}
        return files

    def _parse(self, source: bytes, around: str, path: str) -> Module:
        """The units of a source; those of the cache where it has them."""
        key = hashlib.sha256(f"{around}\0".encode() + source).hexdigest()
        if key in self._stored:
            self._kept[key] = self._stored[key]
            return from_json(self._stored[key])
        try:
            module = parse(source, around)
        except SyntaxError as error:
            raise UserError(f"{path}: line {error.lineno} is not Python ({error.msg}); correct it") from None
        except ValueError as error:  # of a null byte, in some versions of Python
            raise UserError(f"{path} is not Python ({error}); correct it") from None
        if self._cache is not None:
            self._kept[key], self._parsed = asdict(module), True
        return module

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """The modules in the cache; none if it is missing or damaged, or another version of this room wrote it."""
        if self._cache is None:
            return {}
        try:
            stored = json.loads((self._cache / CACHE).read_bytes())
            modules: dict[str, Any] = stored["modules"] if stored["made_by"] == _own_digest() else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return modules


def _own_digest() -> str:
    """Hash of the sources of this room, which decide what is in the cache."""
    own = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in own)).hexdigest()
