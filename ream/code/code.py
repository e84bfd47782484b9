"""From the units where a stage starts to everything that it can execute, and the fingerprint of that."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from ream.code.fingerprint import SHORT, Fingerprint
from ream.code.libraries import versions
from ream.code.links import Linker, Links, Place, meaning
from ream.code.modules import ON_IMPORT, Unit
from ream.code.sources import Sources
from ream.errors import UserError

Cut = tuple[str, str]  # "module:unit" and another such unit, to which its names do not lead


class Code:
    """The code of a package. Every module is parsed once, when the first fingerprint reaches it."""

    def __init__(self, package: Path, cache: Path | None = None) -> None:
        """Name the sources; nothing is read yet.

        Args:
            package: folder of the package, whose name is that of the folder.
            cache: folder of a file that keeps what was parsed (`save`); None for none.
        """
        self.sources = Sources(package, cache)
        self._linker = Linker(self.sources)
        self._links: dict[Place, Links] = {}
        self._hashes: dict[tuple[Place, bool], str] = {}

    def fingerprint(self, roots: Sequence[str], cuts: Iterable[Cut] = ()) -> Fingerprint:
        """The code that can be executed from some units on.

        Args:
            roots: "module:unit", or "module" for all units of a module.
            cuts: from which unit to which other the search does not go on. The other counts if it is reached otherwise.

        Raises:
            UserError: there is no such module or unit, a cut is not between a unit and one that it names, or a module
                that is reached is not Python.
        """
        ends = {self._cut(*cut) for cut in cuts}
        reached, modules = self._reached({place for root in roots for place in self._places(root)}, ends)
        links = [self._linked(place) for place in reached]
        docs = any(self._unit(place).reads_docs for place in reached)
        hashes = {f"{place[0]}.{place[1]}": self._hash(place, docs) for place in reached if self._says(place)}
        hashes |= {path: digest[:SHORT] for each in links for path, digest in each.files.items()}
        libraries = {library for each in links for library in each.libraries}
        return Fingerprint(dict(sorted(hashes.items())), tuple(sorted(modules)), versions(libraries))

    def save(self) -> None:
        """Write the cache, so that the next process parses only modules that change until then.

        Raises:
            UserError: its folder cannot be written.
        """
        self.sources.save()

    def _places(self, root: str) -> set[Place]:
        """The units that a root names."""
        module, _, unit = root.partition(":")
        if not self.sources.has(module) or (unit and unit not in self.sources.module(module).units):
            raise UserError(f"{root} is not in the package {self.sources.name}; a root is module:unit or module")
        return {(module, unit)} if unit else self._linker.whole(module).units

    def _cut(self, start: str, end: str) -> tuple[Place, Place]:
        """The two units of a cut."""
        (first, *_), (second, *_) = self._places(start), self._places(end)
        if second not in self._linked(first).units:
            raise UserError(f"{start} does not lead to {end}; name a unit that it uses")
        return first, second

    def _reached(self, start: Iterable[Place], ends: set[tuple[Place, Place]]) -> tuple[set[Place], set[str]]:
        """All units that some lead to, but for the pairs in ``ends``, and the modules that are imported for them."""
        reached: set[Place] = set()
        modules: set[str] = set()
        todo = list(start)
        while todo:
            place = todo.pop()
            if place in reached:
                continue
            reached.add(place)
            links = self._linked(place)
            todo += [unit for unit in links.units if (place, unit) not in ends]
            for imported in {place[0], *links.modules} - modules:
                for module in accumulate(imported.split("."), "{}.{}".format):  # with the packages around it
                    modules.add(module)
                    todo.append((module, ON_IMPORT))
        return reached, modules

    def _linked(self, place: Place) -> Links:
        """What a unit leads to, found once."""
        if place not in self._links:
            self._links[place] = self._linker.links(place)
        return self._links[place]

    def _hash(self, place: Place, docs: bool) -> str:
        """The short hash of a unit's meaning, found once."""
        if (place, docs) not in self._hashes:
            self._hashes[place, docs] = meaning(self._unit(place), self._linked(place), docs)[:SHORT]
        return self._hashes[place, docs]

    def _says(self, place: Place) -> bool:
        """Whether a unit has any text; what runs on import has none in most modules."""
        return place[1] != ON_IMPORT or self._unit(place).runs

    def _unit(self, place: Place) -> Unit:
        return self.sources.module(place[0]).units[place[1]]
