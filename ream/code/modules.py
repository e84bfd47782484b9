"""A module as units, with what each refers to; nothing is known yet of other modules."""

import ast
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ream.code.canonical import for_type_checkers
from ream.code.reader import Reader, from_module
from ream.code.statements import Definition, TopLevel, plain_targets

ON_IMPORT = "<import>"  # the unit of the statements that always run when a module is imported
# What reads files of a package by its name. Files are also found from the module's own __file__.
READING_FILES = ("importlib.resources", "pkgutil", "jinja2.PackageLoader", "jinja2.FileSystemLoader")


@dataclass(frozen=True)
class Unit:
    """A top-level definition: a function, a class with its methods, or the assignments to a name.

    Attributes:
        digest: hash of the canonical text.
        docs: hash of the docstrings; empty without any.
        loads: names taken from the module, with attributes: "name" or "name.attribute".
        uses: what imports inside of the unit bind and the unit loads: "module:attribute.attribute".
        imports: what the unit imports when it runs: "module:attribute" or "module:".
        reads_docs: whether docstrings of others may be read.
        reads_files: whether files of the package may be read.
        runs: whether there is any statement.
    """

    digest: str
    docs: str
    loads: tuple[str, ...]
    uses: tuple[str, ...]
    imports: tuple[str, ...]
    reads_docs: bool
    reads_files: bool
    runs: bool


@dataclass(frozen=True)
class Module:
    """A module of the package.

    Attributes:
        units: by name; ON_IMPORT is one of them.
        bindings: names that imports at the top level bind, to what they stand for: "module:attribute" or "module:".
        binders: names that are bound at the top level by a unit of another name, to that.
        strings: the string constants, if the module may read files.
    """

    units: dict[str, Unit]
    bindings: dict[str, tuple[str, ...]]
    binders: dict[str, str]
    strings: tuple[str, ...]


class _Sorting:
    """Sorts the statements of a module: imports, definitions by name, and what always runs."""

    def __init__(self, package: str) -> None:
        self.package, self.top = package, package.partition(".")[0]
        self.bindings: dict[str, set[str]] = {}
        self.imports: set[str] = set()
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.always: list[ast.stmt] = []

    def add(self, body: Iterable[ast.stmt]) -> None:
        """Sort the statements of the module."""
        for statement in body:
            targets = plain_targets(statement)
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._add_import(statement)
            elif isinstance(statement, Definition):
                self.definitions.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, ast.If) and for_type_checkers(statement):
                self.add(statement.orelse)
            elif targets is None:
                self.always.append(statement)
            elif targets != ["__all__"] and not (isinstance(statement, ast.AnnAssign) and statement.value is None):
                for name in targets:
                    self.definitions.setdefault(name, []).append(statement)

    def _add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        """Note what an import binds and imports. What ``*`` binds is not known: the module counts as a whole."""
        for alias in statement.names:
            if isinstance(statement, ast.ImportFrom):
                module = from_module(statement, self.package)
                bound, target = alias.asname or alias.name, f"{module}:{alias.name}"
                imported = target
            else:
                bound = alias.asname or alias.name.partition(".")[0]
                target, imported = f"{alias.name if alias.asname else bound}:", f"{alias.name}:"
            self.bindings.setdefault(bound, set()).add(target)
            self.imports.add(imported)

    def top_level(self) -> TopLevel:
        """What the names stand for."""
        callables: set[str] = set()
        assigned: set[str] = set()
        imported: dict[str, str] = {}
        for name, targets in self.bindings.items():
            libraries = {target.partition(":")[0].partition(".")[0] for target in targets}
            if self.top in libraries:
                callables.add(name)
            else:
                imported[name] = min(libraries)
        for name, statements in self.definitions.items():
            defined = any(isinstance(statement, Definition) for statement in statements)
            (callables if defined else assigned).add(name)
        return TopLevel(frozenset(callables), frozenset(assigned), imported)


def parse(source: bytes, package: str) -> Module:
    """The units of a module.

    Args:
        source: the file's content.
        package: dotted name of the package that the module belongs to; of a package itself, its own.

    Raises:
        SyntaxError: the source is not Python.
    """
    sorting = _Sorting(package)
    sorting.add(ast.parse(source).body)
    top_level = sorting.top_level()
    readers = {name: _read(statements, package) for name, statements in sorting.definitions.items()}
    always = _read(sorting.always, package)
    always.imports |= {(module, name) for module, _, name in (each.partition(":") for each in sorting.imports)}
    for name, statements in sorting.definitions.items():
        if any(top_level.runs(statement) for statement in statements):
            always.scopes.load(name)
    readers[ON_IMPORT] = always
    bindings = dict(sorting.bindings)
    for name, targets in always.scopes.imported.items():
        bindings.setdefault(name, set()).update(f"{target[0]}:{'.'.join(target[1:])}" for target in targets)
    binders = {bound: name for name, reader in readers.items() for bound in reader.scopes.bound if bound not in readers}
    units = {name: _unit(reader, bindings) for name, reader in readers.items()}
    reads_files = any(unit.reads_files for unit in units.values())
    strings = {string for reader in readers.values() for string in reader.strings} if reads_files else set()
    return Module(
        units, {name: tuple(sorted(targets)) for name, targets in bindings.items()}, binders, tuple(sorted(strings))
    )


def _read(statements: Iterable[ast.stmt], package: str) -> Reader:
    reader = Reader(package)
    reader.statements(statements)
    return reader


def _unit(reader: Reader, bindings: dict[str, set[str]]) -> Unit:
    """The unit of statements that were read, in a module where imports bind these names."""
    chains = reader.scopes.loads
    uses = {f"{module}:{'.'.join(rest)}" for module, *rest in reader.scopes.uses}
    attributes = {part for chain in chains for part in chain} | {part for use in uses for part in use.split(".")}
    targets = {f"{target}.{'.'.join(rest)}" for name, *rest in chains for target in bindings.get(name, ())} | uses
    libraries = [target.replace(":.", ".").replace(":", ".") for target in targets]
    return Unit(
        digest=_hash("".join(reader.text)),
        docs=_hash(*reader.docs) if reader.docs else "",
        loads=tuple(sorted({".".join(chain) for chain in chains if chain[0]})),
        uses=tuple(sorted(uses)),
        imports=tuple(sorted(f"{module}:{name}" for module, name in reader.imports)),
        reads_docs=bool(attributes & {"__doc__", "getdoc"}),
        reads_files="__file__" in attributes or any(library.startswith(READING_FILES) for library in libraries),
        runs=bool(reader.text),
    )


def _hash(*texts: str) -> str:
    """SHA-256 of texts, in hexadecimal."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def from_json(value: Any) -> Module:
    """A module from what ``json`` reads of its ``dataclasses.asdict``."""
    units = {name: Unit(**{key: _frozen(part) for key, part in unit.items()}) for name, unit in value["units"].items()}
    bindings = {name: tuple(targets) for name, targets in value["bindings"].items()}
    return Module(units, bindings, value["binders"], tuple(value["strings"]))


def _frozen(value: Any) -> Any:
    """A list as a tuple, and anything else as it is."""
    return tuple(value) if isinstance(value, list) else value
