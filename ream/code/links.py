"""What a unit leads to: the units, modules, libraries and files that its names stand for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from ream.code.data_files import files_read, names_in
from ream.code.modules import Module, Unit
from ream.code.sources import Sources

Place = tuple[str, str]  # a module, and the name of a unit in it


@dataclass
class Links:
    """What a unit leads to.

    Attributes:
        units: units that it may execute.
        modules: modules that it imports, whose units it need not execute.
        libraries: top-level names of other libraries that it imports.
        files: files of the package that it may read, by their paths from the package's parent folder, to the SHA-256
            of their content.
        targets: what the names stand for that imports bind: "name=module.unit".
    """

    units: set[Place] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)


class Linker:
    """Finds what units of a package lead to."""

    def __init__(self, sources: Sources) -> None:
        """Take the sources of the package."""
        self.sources = sources

    def links(self, place: Place) -> Links:
        """What a unit leads to."""
        links, module = Links(), self.sources.module(place[0])
        unit = module.units[place[1]]
        for load in unit.loads:
            name, *attributes = load.split(".")
            for target in self._bound(links, place[0], name):
                self._take(links, name, target, attributes)
        for use in unit.uses:
            self._take(links, use, use, [])
        for imported in unit.imports:
            self._import(links, *_parted(imported))
        if unit.reads_files:
            self._add_files(links, place[0], module)
        return links

    def whole(self, module: str) -> Links:
        """All units of a module, and what it imports from others of the package, by whatever name."""
        links = Links()
        self._follow(links, module, [], set())
        return links

    def _bound(self, links: Links, module: str, name: str) -> Sequence[str]:
        """What imports bind a name of a module to; adds the units that bind it to the links."""
        known = self.sources.module(module)
        binder = name if name in known.units else known.binders.get(name)
        if binder is not None:
            links.units.add((module, binder))
        elif name not in known.bindings:  # Python's own, or a name that an import of * binds
            origins = [target.removesuffix(":*") for target in known.bindings.get("*", ())]
            return [f"{origin}:{name}" for origin in origins if self._defines(origin, name)]
        return known.bindings.get(name, ())

    def _defines(self, module: str, name: str) -> bool:
        """Whether a module of the package binds a name."""
        if not self.sources.has(module):
            return False
        known = self.sources.module(module)
        return name in known.units or name in known.binders or name in known.bindings

    def _take(self, links: Links, name: str, target: str, attributes: Sequence[str]) -> None:
        """Add what a name stands for, with attributes taken from it."""
        module, inside = _parted(target)
        if self._ours(module):
            path = [*(inside.split(".") if inside else ()), *attributes]
            found = self._follow(links, module, path, set())
        else:  # the attributes taken from it stand in the unit's own text
            links.libraries.add(module.partition(".")[0])
            found = {target}
        links.targets |= {f"{name}={each}" for each in found}

    def _follow(self, links: Links, module: str, path: Sequence[str], passed: set[tuple[str, ...]]) -> set[str]:
        """Add the unit to which attributes of a module lead, through imports of other modules; return its name.

        Where it cannot be told, the module counts as a whole.
        """
        if (module, *path) in passed:
            return set()
        passed.add((module, *path))
        if not self._ours(module):
            links.libraries.add(module.partition(".")[0])
            return {".".join((module, *path))}
        if not self.sources.has(module):  # the import fails
            return {".".join((module, *path))}
        links.modules.add(module)
        found: set[str] = set()
        if path:
            units = links.units
            links.units = set()
            for target in self._bound(links, module, path[0]):
                origin, inside = _parted(target)
                found |= self._follow(links, origin, [*(inside.split(".") if inside else ()), *path[1:]], passed)
            found |= {f"{origin}.{unit}" for origin, unit in links.units}
            links.units |= units
            if not found and self.sources.has(f"{module}.{path[0]}"):
                found = self._follow(links, f"{module}.{path[0]}", path[1:], passed)
        if found:
            return found
        known = self.sources.module(module)
        links.units |= {(module, unit) for unit in known.units}
        for target in (target for targets in known.bindings.values() for target in targets):
            origin, inside = _parted(target)
            if self._ours(origin) and inside not in ("", "*"):
                self._follow(links, origin, inside.split("."), passed)
        return {".".join((module, *path))}

    def _import(self, links: Links, module: str, name: str) -> None:
        """Add the modules that an import runs: the module, or one inside of it that is named."""
        if not self._ours(module):
            links.libraries.add(module.partition(".")[0])
        elif name == "*":
            self._follow(links, module, [], set())
        else:
            named = (module, f"{module}.{name}") if name else (module,)
            links.modules |= {each for each in named if self.sources.has(each)}

    def _add_files(self, links: Links, name: str, module: Module) -> None:
        """Add the files that a module may read, with the units that they name; Python files are run as programs."""
        package = self.sources.package
        for path in files_read(package, self.sources.folder(name), module.strings):
            relative = path.relative_to(package.parent)
            if path.suffix == ".py":
                links.modules.add(".".join(relative.with_suffix("").parts))
                continue
            content = path.read_bytes()
            links.files[relative.as_posix()] = hashlib.sha256(content).hexdigest()
            for dotted in names_in(content, package.name):
                self._follow(links, package.name, dotted.split(".")[1:], set())

    def _ours(self, module: str) -> bool:
        """Whether a module belongs to the package."""
        return module.partition(".")[0] == self.sources.name


def meaning(unit: Unit, links: Links, docs: bool) -> str:
    """SHA-256 of a unit's text and of what its imported names stand for, in hexadecimal.

    Args:
        unit: the unit.
        links: what it leads to.
        docs: whether its docstrings count.
    """
    parts = (unit.digest, unit.docs if docs else "", *sorted(links.targets))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _parted(target: str) -> tuple[str, str]:
    """The module and the attributes in it of "module:attributes"."""
    module, _, inside = target.partition(":")
    return module, inside
