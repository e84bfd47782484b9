"""What importing a module runs: its statements, apart from definitions that run no code of the package.

A definition runs code of the package if a call in it that happens at once goes to a name of the package, or hands one
on to be called, or if a decorator is a name of the package.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# Libraries whose decorators register nothing, so that a definition is used only where it is named.
PLAIN_LIBRARIES = {*sys.stdlib_module_names, "jaxtyping", "pydantic", "torch", "typing_extensions"}
# Functions that keep what they are given and do not call it.
KEEPING = {
    "Field", "MappingProxyType", "TypeVar", "cast", "dict", "field", "frozenset", "list", "partial", "set", "tuple",
}  # fmt: skip


@dataclass(frozen=True)
class TopLevel:
    """What names at the top level of a module stand for.

    Attributes:
        callable: functions and classes of the module, and what it imports from its package.
        assigned: names that the module assigns.
        imported: names that it imports from other libraries, with the library of each.
    """

    callable: frozenset[str]
    assigned: frozenset[str]
    imported: Mapping[str, str]

    def runs(self, statement: ast.stmt) -> bool:
        """Whether a definition or an assignment runs code of the package at once."""
        return any(self._runs(part) for part in at_once(statement)) or any(
            self._registers(decorator) for decorator in decorators(statement)
        )

    def _runs(self, node: ast.AST) -> bool:
        """Whether a call in an expression goes to the package, or hands a function or a class of it on."""
        if isinstance(node, ast.Lambda):
            return False
        if isinstance(node, ast.Call):
            called = root(node.func)
            if called in self.callable | self.assigned:
                return True
            if last(node.func) not in KEEPING and any(name in self.callable for name in names(node)):
                return True
        return any(self._runs(child) for child in ast.iter_child_nodes(node))

    def _registers(self, decorator: ast.expr) -> bool:
        """Whether a decorator belongs to the package or to a library that may keep what is decorated, to call it."""
        name = root(decorator)
        ours = name in self.callable | self.assigned
        return ours or self.imported.get(name, "builtins") not in PLAIN_LIBRARIES


def root(node: ast.expr) -> str:
    """The name at the start of a chain of attributes, calls and subscripts; empty if it starts with something else."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def last(node: ast.expr) -> str:
    """The last name of a chain of attributes; empty if it is not one."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def names(node: ast.AST) -> Iterator[str]:
    """All names in an expression."""
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def decorators(statement: ast.stmt) -> Iterator[ast.expr]:
    """The decorators of a definition and, in a class, of its methods."""
    if isinstance(statement, Definition):
        yield from statement.decorator_list
    if isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            yield from decorators(inner)


def at_once(statement: ast.stmt) -> Iterator[ast.AST]:
    """What a statement evaluates at once: values, and the defaults, bases and fields of definitions, not their code."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from statement.args.defaults
        yield from (default for default in statement.args.kw_defaults if default is not None)
    elif isinstance(statement, ast.ClassDef):
        yield from statement.bases
        for keyword in statement.keywords:
            # a metaclass is called with the class
            yield ast.Call(keyword.value, [], []) if keyword.arg == "metaclass" else keyword.value
        for inner in statement.body:
            yield from at_once(inner)
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        if statement.value is not None:
            yield statement.value
    else:
        yield statement


def plain_targets(statement: ast.stmt) -> list[str] | None:
    """The names that an assignment binds; None if it does anything else, such as setting an attribute."""
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    else:
        return None
    bound = []
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Tuple | ast.List):
            targets += target.elts
        elif isinstance(target, ast.Starred):
            targets.append(target.value)
        elif isinstance(target, ast.Name):
            bound.append(target.id)
        else:
            return None
    return bound
