"""The canonical text of code: equal for code of equal meaning.

Comments, blank lines, docstrings, ``pass`` and blocks for type checkers are left out. The text does not depend on the
version of Python.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

# Fields of the syntax tree that repeat what the others say, or say it for type checkers.
LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores", "type_params", "returns"}


class CanonicalText:
    """Reads statements one after the other and writes the text of all.

    Attributes:
        text: the pieces of the text.
        docs: the docstrings and other statements that are nothing but a constant.
        strings: string constants of one line.
        SPECIAL: how kinds of nodes are read that have more to them than their fields.
    """

    SPECIAL: ClassVar[Mapping[type[ast.AST], Callable[[Any, Any], None]]] = {}

    def __init__(self) -> None:
        """Start empty."""
        self.text: list[str] = []
        self.docs: list[str] = []
        self.strings: set[str] = set()

    def statements(self, body: Iterable[ast.stmt]) -> None:
        """Read the statements of a block."""
        for statement in body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                self.docs.append(str(statement.value.value))
            elif isinstance(statement, ast.If) and for_type_checkers(statement):
                self.statements(statement.orelse)
            elif not isinstance(statement, ast.Pass):
                self.read(statement)

    def read(self, node: ast.AST) -> None:
        """Read a node of the tree and what is below it."""
        kind = type(node)
        special = self.SPECIAL.get(kind)
        if special is not None:
            special(self, node)
            return
        self.text.append(f"{kind.__name__}(")
        for name in kind._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in LEFT_OUT:
                self.field(name, value)
        self.text.append(")")

    def field(self, name: str, value: Any) -> None:
        """Read a field of a node: a node, a list, or a plain value."""
        self.text.append(f"{name}=")
        if isinstance(value, ast.AST):
            self.read(value)
        elif not isinstance(value, list):
            self.text.append(f"{value!a},")
        elif isinstance(value[0], ast.stmt):
            self.block(value)
        else:
            self.nodes(value)

    def nodes(self, nodes: Iterable[Any]) -> None:
        """Read a list of nodes, of plain values, or of None."""
        self.text.append("[")
        for node in nodes:
            if isinstance(node, ast.AST):
                self.read(node)
            else:
                self.text.append(f"{node!a},")
        self.text.append("]")

    def block(self, body: Iterable[ast.stmt]) -> None:
        """Read the statements of a block that is part of another statement."""
        self.text.append("{")
        self.statements(body)
        self.text.append("}")

    def constant(self, node: ast.Constant) -> None:
        """Read a constant; ``=`` tells an infinity from a name."""
        self.text.append(f"={node.value!a},")
        if isinstance(node.value, str) and "\n" not in node.value:
            self.strings.add(node.value)

    def joined(self, node: ast.JoinedStr) -> None:
        """An f-string. Versions of Python divide its constant parts differently, so they are joined."""
        self.text.append("f(")
        constant = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                constant += str(part.value)
                continue
            self.text.append(f"{constant!a},")
            constant = ""
            self.read(part)
        self.text.append(f"{constant!a})")


def for_type_checkers(statement: ast.If) -> bool:
    """Whether a block runs for type checkers alone."""
    test = statement.test
    return isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test).split(".")[-1] == "TYPE_CHECKING"
