"""Which names a piece of code takes from outside: Python's scopes, resolved in one pass over the syntax tree."""

from collections.abc import Iterable
from dataclasses import dataclass, field

Chain = tuple[str, ...]  # a name and the attributes taken from it, such as ("np", "linalg", "norm")


@dataclass
class Scope:
    """A function, a class, a comprehension, or the module.

    Attributes:
        kind: "module", "function", "class" or "comprehension".
        bound: names that the scope binds.
        imports: names that imports in the scope bind, to the module and the attribute that they stand for.
        of_module: names declared global.
        of_function: names declared nonlocal.
        loads: names loaded in the scope and, where they are not bound there, in the scopes inside.
    """

    kind: str
    bound: set[str] = field(default_factory=set)
    imports: dict[str, set[Chain]] = field(default_factory=dict)
    of_module: set[str] = field(default_factory=set)
    of_function: set[str] = field(default_factory=set)
    loads: set[Chain] = field(default_factory=set)


class Scopes:
    """The scopes that are open while a syntax tree is read.

    Attributes:
        uses: what names stand for that imports inside of functions and classes bind, with the attributes taken from
            them. The first part of each is the dotted name of the module.
    """

    def __init__(self) -> None:
        """Open the scope of the module."""
        self._module = Scope("module")
        self._open = [self._module]
        self.uses: set[Chain] = set()

    @property
    def kind(self) -> str:
        """The kind of the innermost scope."""
        return self._open[-1].kind

    @property
    def loads(self) -> set[Chain]:
        """Names that are taken from the module or from Python, with the attributes taken from them."""
        return self._module.loads

    @property
    def bound(self) -> set[str]:
        """Names that are bound in the module."""
        return self._module.bound

    @property
    def imported(self) -> dict[str, set[Chain]]:
        """Names that imports at the level of the module bind, to the module and the attribute that they stand for."""
        return self._module.imports

    def enter(self, kind: str) -> None:
        """Open a scope in the innermost one."""
        self._open.append(Scope(kind))

    def leave(self) -> None:
        """Close the innermost scope; what it does not bind comes from the scope around it.

        A statement of a class takes a name from outside until the class binds it, and a method always does. So all
        names that are loaded in a class are taken to come from outside, too.
        """
        scope, around = self._open.pop(), self._open[-1]
        for chain in scope.loads:
            name = chain[0]
            if name in scope.of_module:
                self._module.loads.add(chain)
                continue
            for target in scope.imports.get(name, ()):
                self.uses.add((*target, *chain[1:]))
            bound = name in scope.bound or name in scope.imports
            if not bound or name in scope.of_function or scope.kind == "class":
                around.loads.add(chain)

    def load(self, *chain: str) -> None:
        """Record that a name is loaded, and the attributes that are taken from it."""
        self._open[-1].loads.add(chain)

    def bind(self, name: str) -> None:
        """Record that a name is bound. To bind a name of the module from inside of a function counts as loading it."""
        self._bind_in(self._open[-1], name)

    def bind_beside_loops(self, name: str) -> None:
        """Record that ``:=`` binds a name, in the innermost scope that is not a comprehension."""
        self._bind_in(next(each for each in reversed(self._open) if each.kind != "comprehension"), name)

    def bind_import(self, name: str, target: Chain) -> None:
        """Record that an import binds a name to a module, or to an attribute of one."""
        self._open[-1].imports.setdefault(name, set()).add(target)
        self.bind(name)

    def declare(self, names: Iterable[str], of_module: bool) -> None:
        """Record names declared global (``of_module``) or nonlocal."""
        scope = self._open[-1]
        (scope.of_module if of_module else scope.of_function).update(names)

    @staticmethod
    def _bind_in(scope: Scope, name: str) -> None:
        if name in scope.of_module:
            scope.loads.add((name,))
        else:
            scope.bound.add(name)
