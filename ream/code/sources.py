"""The modules of a package by their names, each read and parsed once; a cache keeps what was parsed."""

import hashlib
import json
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
        self._paths: dict[str, Path | None] = {}
        self._modules: dict[str, Module] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._parsed = False

    def has(self, module: str) -> bool:
        """Whether there is a module or a package of that dotted name."""
        return self._path(module) is not None

    def module(self, name: str) -> Module:
        """A module by its dotted name; a folder without __init__.py is an empty one.

        Raises:
            UserError: its source is not Python.
        """
        if name not in self._modules:
            path = self._path(name)
            source = b"" if path is None or path.is_dir() else path.read_bytes()
            around = name if path is None or path.is_dir() or path.stem == "__init__" else name.rpartition(".")[0]
            self._modules[name] = self._parse(source, around, path)
        return self._modules[name]

    def folder(self, module: str) -> Path:
        """The folder of a module's file."""
        path = self._path(module)
        return self.package if path is None else path if path.is_dir() else path.parent

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

    def _path(self, module: str) -> Path | None:
        """The file of a module, or the folder of a package that has no __init__.py; None if there is neither."""
        if module not in self._paths:
            inside = self.package.parent.joinpath(*module.split("."))
            tried = (inside / "__init__.py", inside.with_name(f"{inside.name}.py"))
            found = next((path for path in tried if path.is_file()), inside if inside.is_dir() else None)
            self._paths[module] = found if module.partition(".")[0] == self.name else None
        return self._paths[module]

    def _parse(self, source: bytes, around: str, path: Path | None) -> Module:
        """The units of a source; those of the cache where it has them."""
        key = hashlib.sha256(f"{around}\0".encode() + source).hexdigest()
        if key in self._stored:
            self._kept[key] = self._stored[key]
            return from_json(self._stored[key])
        try:
            module = parse(source, around)
        except SyntaxError as error:
            raise UserError(f"{path}: line {error.lineno} is not Python ({error.msg}); correct it") from None
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
