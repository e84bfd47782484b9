"""Code as canonical text, and the names that it takes from outside.

Annotations are left out, except for those of a class's fields: pydantic, dataclasses and named tuples read them.
"""

import ast
from typing import ClassVar

from ream.code.canonical import CanonicalText
from ream.code.scopes import Scopes

# Attributes that matter whatever they are taken from: the first reads docstrings, the second leads to files.
TELLING = {"__doc__", "__file__"}


class Reader(CanonicalText):
    """Reads statements one after the other.

    Attributes:
        imports: modules and attributes of modules that the statements import; the attribute is empty for a module.
        scopes: the names.
    """

    def __init__(self, package: str) -> None:
        """Start empty.

        Args:
            package: dotted name of the package from which relative imports start.
        """
        super().__init__()
        self.package = package
        self.imports: set[tuple[str, str]] = set()
        self.scopes = Scopes()

    def _name(self, node: ast.Name) -> None:
        self.text.append(f"{node.id},")
        if isinstance(node.ctx, ast.Load):
            self.scopes.load(node.id)
        else:
            self.scopes.bind(node.id)

    def _attribute(self, node: ast.Attribute) -> None:
        attributes, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        attributes.reverse()
        if isinstance(inner, ast.Name):
            self.scopes.load(inner.id, *attributes)
            self.text.append(inner.id)
        else:
            if TELLING & set(attributes):
                self.scopes.load("", *attributes)
            self.read(inner)
        self.text.append(f".{'.'.join(attributes)},")

    def _augmented(self, node: ast.AugAssign) -> None:
        self.text.append(f"AugAssign({type(node.op).__name__},")
        if isinstance(node.target, ast.Name):
            self.scopes.load(node.target.id)
        self.read(node.target)
        self.read(node.value)
        self.text.append(")")

    def _annotated(self, node: ast.AnnAssign) -> None:
        """An assignment with an annotation is one without, but for the fields of a class."""
        field = self.scopes.kind == "class"
        if field:
            self.text.append("field(")
            self._annotation(node.annotation)
        elif node.value is None:
            self.scopes.bind(node.target.id) if isinstance(node.target, ast.Name) else None
            return
        self.text.append("Assign(targets=[")
        self.read(node.target)
        self.text.append("]")
        if node.value is not None:
            self.field("value", node.value)
        self.text.append("))" if field else ")")

    def _annotation(self, node: ast.expr) -> None:
        """The annotation of a field; pydantic evaluates those that are strings, so that their names count."""
        self.read(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    names = ast.parse(part.value.strip(), mode="eval")
                except SyntaxError:  # the axes of a shape
                    continue
                for name in ast.walk(names):
                    if isinstance(name, ast.Name):
                        self.scopes.load(name.id)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.text.append(f"{type(node).__name__}({node.name},")
        self.scopes.bind(node.name)
        self.nodes(node.decorator_list)
        self._called(node.args)
        self.block(node.body)
        self.scopes.leave()
        self.text.append(")")

    def _lambda(self, node: ast.Lambda) -> None:
        self.text.append("Lambda(")
        self._called(node.args)
        self.read(node.body)
        self.scopes.leave()
        self.text.append(")")

    def _called(self, arguments: ast.arguments) -> None:
        """Read defaults in the scope around a function, then enter its own and bind its arguments."""
        self.nodes(arguments.defaults)
        self.nodes(arguments.kw_defaults)
        self.scopes.enter("function")
        for sign, group in (("/", arguments.posonlyargs), ("", arguments.args), ("*", arguments.kwonlyargs)):
            for argument in group:
                self.text.append(f"{sign}{argument.arg},")
                self.scopes.bind(argument.arg)
        for sign, rest in (("*args ", arguments.vararg), ("**", arguments.kwarg)):
            if rest is not None:
                self.text.append(f"{sign}{rest.arg},")
                self.scopes.bind(rest.arg)

    def _class(self, node: ast.ClassDef) -> None:
        self.text.append(f"ClassDef({node.name},")
        self.scopes.bind(node.name)
        for nodes in (node.decorator_list, node.bases, node.keywords):
            self.nodes(nodes)
        self.scopes.enter("class")
        self.block(node.body)
        self.scopes.leave()
        self.text.append(")")

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        """A comprehension; what its first loop goes over is evaluated in the scope around it."""
        self.text.append(f"{type(node).__name__}(")
        self.read(node.generators[0].iter)
        self.scopes.enter("comprehension")
        for index, loop in enumerate(node.generators):
            self.text.append(f"{'async ' * loop.is_async}for ")
            self.read(loop.target)
            if index:
                self.read(loop.iter)
            self.nodes(loop.ifs)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.read(part)
        self.scopes.leave()
        self.text.append(")")

    def _walrus(self, node: ast.NamedExpr) -> None:
        self.text.append(f"NamedExpr({node.target.id},")
        self.scopes.bind_beside_loops(node.target.id)
        self.read(node.value)
        self.text.append(")")

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.text.append(f"Import({alias.name},{alias.asname},)")
            self.imports.add((alias.name, ""))
            bound = alias.asname or alias.name.partition(".")[0]
            self.scopes.bind_import(bound, (alias.name if alias.asname else bound,))

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = from_module(node, self.package)
        for alias in node.names:
            self.text.append(f"ImportFrom({module},{alias.name},{alias.asname},)")
            self.imports.add((module, alias.name))
            self.scopes.bind_import(alias.asname or alias.name, (module, alias.name))

    def _declaration(self, node: ast.Global | ast.Nonlocal) -> None:
        self.text.append(f"{type(node).__name__}({','.join(sorted(node.names))})")
        self.scopes.declare(node.names, isinstance(node, ast.Global))

    def _caught(self, node: ast.ExceptHandler) -> None:
        self.text.append(f"ExceptHandler({node.name},")
        if node.name is not None:
            self.scopes.bind(node.name)
        self.nodes([node.type])
        self.block(node.body)
        self.text.append(")")

    def _pattern(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        """A pattern that may bind a name."""
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        self.text.append(f"{type(node).__name__}({name},")
        if name is not None:
            self.scopes.bind(name)
        if isinstance(node, ast.MatchMapping):
            self.nodes(node.keys)
            self.nodes(node.patterns)
        elif isinstance(node, ast.MatchAs):
            self.nodes([node.pattern])
        self.text.append(")")

    SPECIAL: ClassVar = {
        ast.Constant: CanonicalText.constant,
        ast.JoinedStr: CanonicalText.joined,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.AugAssign: _augmented,
        ast.AnnAssign: _annotated,
        ast.FunctionDef: _function,
        ast.AsyncFunctionDef: _function,
        ast.Lambda: _lambda,
        ast.ClassDef: _class,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.DictComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.NamedExpr: _walrus,
        ast.Import: _import,
        ast.ImportFrom: _import_from,
        ast.Global: _declaration,
        ast.Nonlocal: _declaration,
        ast.ExceptHandler: _caught,
        ast.MatchAs: _pattern,
        ast.MatchStar: _pattern,
        ast.MatchMapping: _pattern,
    }


def from_module(node: ast.ImportFrom, package: str) -> str:
    """The dotted name of the module that ``from … import`` names.

    Args:
        node: the import.
        package: dotted name of the package of the module that has the import.
    """
    if not node.level:
        return node.module or ""
    start = package.split(".")
    around = start[: len(start) - node.level + 1]
    return ".".join([*around, *([node.module] if node.module else [])])
