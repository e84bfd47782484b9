"""What a unit reaches: in its module, in others, by imports, when a module is imported, and in files."""

import pytest

from ream.code.code import Code
from ream.errors import UserError
from tests.code.packages import fingerprint, write


def units(folder, files, *roots):
    """Names of the reached units without the package's."""
    return {unit.removeprefix("p.") for unit in fingerprint(folder, files, *roots).units}


def test_helpers_of_other_modules(tmp_path):
    files = {
        "main.py": "from p.a import f\nfrom p import b\nimport p.c.d\ndef run(): return f(), b.g(), p.c.d.h()",
        "a.py": "def f(): return other()\ndef other(): pass\ndef unused(): pass",
        "b.py": "def g(): pass\ndef unused(): pass",
        "c/__init__.py": "",
        "c/d.py": "def h(): pass\ndef unused(): pass",
    }
    assert units(tmp_path, files) == {"main.run", "a.f", "a.other", "b.g", "c.d.h"}
    assert fingerprint(tmp_path, files).modules == ("p", "p.a", "p.b", "p.c", "p.c.d", "p.main")


def test_relative_and_renamed_imports(tmp_path):
    files = {
        "q/main.py": "from .a import f as g\nfrom ..b import h\nfrom . import c as d\ndef run(): g(), h(), d.i()",
        "q/a.py": "def f(): pass",
        "q/c.py": "def i(): pass",
        "b.py": "def h(): pass",
    }
    assert units(tmp_path, files, "p.q.main:run") == {"q.main.run", "q.a.f", "q.c.i", "b.h"}


def test_exported_again(tmp_path):
    files = {
        "main.py": "from p.q import f\nfrom p import q\ndef run(): return f(), q.g()",
        "q/__init__.py": "from p.q.a import f, g, unused",
        "q/a.py": "def f(): pass\ndef g(): pass\ndef unused(): pass",
        "q/b.py": "def f(): pass",
    }
    assert units(tmp_path / "before", files) == {"main.run", "q.a.f", "q.a.g"}
    elsewhere = files | {"q/__init__.py": "from p.q.a import g, unused\nfrom p.q.b import f"}
    assert units(tmp_path / "after", elsewhere) == {"main.run", "q.b.f", "q.a.g"}


def test_an_import_that_names_another_unit_changes_what_uses_it(tmp_path):
    files = {"main.py": "from p.a import f, g\ndef run(): return f(), g()", "a.py": "def f(): pass\ndef g(): pass"}
    before = fingerprint(tmp_path / "before", files).hashes
    swapped = files | {"main.py": "from p.a import f as g, g as f\ndef run(): return f(), g()"}
    after = fingerprint(tmp_path / "after", swapped).hashes
    assert {unit for unit in before if before[unit] != after[unit]} == {"p.main.run"}


def test_imports_inside_of_functions_count_where_the_function_is_reached(tmp_path):
    text = "def run():\n    from p.a import f\n    return f()\ndef unused():\n    import p.b\n    p.b.g()"
    files = {"main.py": text, "a.py": "def f(): pass\ndef g(): pass", "b.py": "table = {}\ntable[1] = 2\ndef g(): pass"}
    assert units(tmp_path, files) == {"main.run", "a.f"}
    assert fingerprint(tmp_path, files).modules == ("p", "p.a", "p.main")
    assert units(tmp_path, files, "p.main:unused") == {"main.unused", "b.<import>", "b.table", "b.g"}


def test_a_module_that_is_handed_on_counts_as_a_whole(tmp_path):
    files = {
        "main.py": "from p import a\ndef run(name): return getattr(a, name)",
        "a.py": "from p.b import f\ndef g(): pass\nLIMIT = 1",
        "b.py": "def f(): pass\ndef unused(): pass",
    }
    assert units(tmp_path, files) == {"main.run", "a.g", "a.LIMIT", "b.f"}


def test_an_attribute_that_is_not_there_counts_as_the_whole_module(tmp_path):
    files = {"main.py": "from p import a\ndef run(): return a.made_later", "a.py": "def f(): pass"}
    assert units(tmp_path, files) == {"main.run", "a.f"}


def test_an_import_of_everything(tmp_path):
    files = {"main.py": "from p.a import *\ndef run(): return f()", "a.py": "def f(): pass\ndef g(): pass"}
    assert units(tmp_path, files) == {"main.run", "a.f", "a.g"}


def test_a_name_of_a_function_hides_that_of_the_module(tmp_path):
    text = """
    def argument(): pass
    def local(): pass
    def loop(): pass
    def caught(): pass
    def kept(): pass
    def outer(): pass
    def first(): pass
    def seen_by_method(): pass
    def run(argument):
        global kept
        local = 1
        outer = 2
        try:
            values = [loop for loop in first()]
        except ValueError as caught:
            raise caught
        def inner():
            nonlocal outer
            outer, kept = kept, local
        class Inner:
            seen_by_method = 1
            def method(self):
                return seen_by_method
        return argument, lambda loop: loop, inner, kept
    """
    assert units(tmp_path, {"main.py": text}) == {f"main.{name}" for name in ("run", "first", "kept", "seen_by_method")}


SCOPES = {
    "global inside of a function that binds the name": (
        "def run():\n    f = 1\n    def inner():\n        global f\n        return f\n    return inner", {"f"}
    ),
    "first loop of a comprehension": ("def run(): return [f for f in f]", {"f"}),
    "second loop": ("def run(g): return [f for f in g for g in f]", set()),
    "class that binds a name of the module": ("class run:\n    f = f\n", {"f"}),
    "import that an inner function sets": (
        "def run():\n    from p.a import g\n    def inner():\n        nonlocal g\n        g = g()\n    inner()", {"a.g"}
    ),
    "block for type checkers": (
        "import typing\ndef run():\n    if typing.TYPE_CHECKING:\n        h()\n    else:\n        f()", {"f"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SCOPES)
def test_where_a_name_comes_from(case, tmp_path):
    text, expected = SCOPES[case]
    files = {"main.py": f"{text}\ndef f(): pass\ndef h(): pass", "a.py": "def g(): pass"}
    found = units(tmp_path, files) - {"main.run"}
    assert found == {name if "." in name else f"main.{name}" for name in expected}


def test_what_a_match_and_a_walrus_bind(tmp_path):
    text = """
    def a(): pass
    def b(): pass
    def c(): pass
    def d(): pass
    def e(): pass
    def run(value):
        match value:
            case [a, *b] | {"c": a, **b} | int() as c:
                return a, b, c
        return [d := n for n in value], d, e
    """
    assert units(tmp_path, {"main.py": text}) == {"main.run", "main.e"}


def test_field_annotations_reach_classes_and_others_do_not(tmp_path):
    text = """
    from typing import TYPE_CHECKING
    class Inner: pass
    class Quoted: pass
    class Argument: pass
    if TYPE_CHECKING:
        from p.a import Seen
    class Outer:
        inner: Inner
        quoted: "list[Quoted] | Seen"
        shape: "N, H x"
        def method(self, argument: Argument) -> Argument: pass
    def run(argument: Argument): return Outer
    """
    files = {"main.py": text, "a.py": "class Seen: pass"}
    assert units(tmp_path, files) == {"main.run", "main.Outer", "main.Inner", "main.Quoted"}
    assert fingerprint(tmp_path, files).modules == ("p", "p.main")


ALWAYS = {
    "expression": "f()",
    "subscript": "TABLE = {}\nTABLE['f'] = f",
    "attribute": "import q\nq.f = f",
    "condition": "if f():\n    pass",
    "try": "try:\n    g = f\nexcept ValueError:\n    pass",
    "loop": "for _ in range(2):\n    g = f",
    "with": "with f():\n    pass",
    "value": "UNUSED = f(1)",
    "value handed on": "UNUSED = sorted([2], key=f)",
    "call inside of a value": "UNUSED = {'a': [len(f(1))]}",
    "registering decorator": "@f\ndef unused(): pass",
    "decorator of a method": "class Unused:\n    @f\n    def method(self): pass",
    "decorator of a library": "import q\n@q.register\ndef unused(): return f",
    "default": "def unused(x=f()): pass",
    "value of a field": "class Unused:\n    x: int = f()",
    "metaclass": "class Unused(metaclass=f): pass",
    "repeated": "X = 1\nX += f",
}


@pytest.mark.parametrize("statement", ALWAYS)
def test_what_runs_when_a_module_is_imported(statement, tmp_path):
    files = {"main.py": "import p.a\ndef run(): pass", "a.py": f"from p.b import f\n{ALWAYS[statement]}"}
    found = fingerprint(tmp_path / "before", files | {"b.py": "def f(): pass\ndef unused(): pass"})
    assert "p.b.f" in found.units
    assert "p.b.unused" not in found.units
    after = fingerprint(tmp_path / "after", files | {"b.py": "def f(): return 1"})
    assert after.digest != found.digest


NEVER = {
    "table": "UNUSED = {'f': f}",
    "kept": "from types import MappingProxyType\nUNUSED = MappingProxyType({'f': f})",
    "function": "def unused(): return f()",
    "lambda": "UNUSED = lambda: f()",
    "class": "class Unused:\n    def method(self): return f()",
    "field": "import dataclasses as d\n@d.dataclass\nclass Unused:\n    x: int = d.field(default_factory=f)",
    "call of a library": "import re\nUNUSED = re.compile('a')",
    "type": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    f()",
}


@pytest.mark.parametrize("statement", NEVER)
def test_what_does_not_run_when_a_module_is_imported(statement, tmp_path):
    files = {"main.py": "import p.a\ndef run(): pass", "a.py": f"from p.b import f\n{NEVER[statement]}"}
    found = fingerprint(tmp_path, files | {"b.py": "def f(): pass"})
    assert found.units == ("p.main.run",)
    assert "p.b" in found.modules


def test_a_name_that_is_added_to(tmp_path):
    files = {"main.py": "import p.a\ndef run(): pass", "a.py": "X = 1\nX += 2\ndef unused(): pass"}
    assert units(tmp_path, files) == {"main.run", "a.X", "a.<import>"}


def test_packages_around_a_module_are_imported(tmp_path):
    files = {
        "__init__.py": "from p.start import begin\nbegin()",
        "start.py": "def begin(): pass",
        "q/__init__.py": "print('q')",
        "q/main.py": "def run(): pass",
        "q/other.py": "print('other')",
    }
    expected = {"<import>", "start.begin", "q.<import>", "q.main.run"}
    assert units(tmp_path, files, "p.q.main:run") == expected


def test_names_that_statements_bind_stand_for_what_runs_on_import(tmp_path):
    files = {
        "main.py": "from p.a import table, fast\ndef run(): return table, fast",
        "a.py": "try:\n    from p.b import fast\nexcept ImportError:\n    fast = None\n"
        "for table in (1, 2): pass\ndef unused(): pass",
        "b.py": "def fast(): pass",
    }
    assert units(tmp_path, files) == {"main.run", "a.<import>", "b.fast"}


def test_modules_that_import_each_other(tmp_path):
    files = {"main.py": "from p.a import f\ndef run(): f()", "a.py": "from p.main import run\ndef f(): run()"}
    assert units(tmp_path, files) == {"main.run", "a.f"}
    files = {"main.py": "from p.a import f\ndef run(): f()", "a.py": "from p.b import f", "b.py": "from p.a import f"}
    assert units(tmp_path / "none", files) == {"main.run"}


def test_a_whole_module_and_one_that_is_not_there(tmp_path):
    files = {"main.py": "from p.missing import f\ndef run(): f()\ndef other(): pass"}
    assert units(tmp_path, files, "p.main") == {"main.run", "main.other"}
    for root in ("p.main:none", "p.none", "q.main:run"):
        with pytest.raises(UserError, match=f"{root} is not in the package p"):
            fingerprint(tmp_path, files, root)


@pytest.mark.parametrize("text", ["def run(:", "\0"])
def test_what_is_not_python(text, tmp_path):
    code = Code(write(tmp_path, {"main.py": text}))
    with pytest.raises(UserError, match=r"main\.py.* is not Python"):
        code.fingerprint(["p.main:run"])


def test_a_module_beside_a_folder_of_its_name(tmp_path):
    files = {
        "main.py": "from p import a, b\ndef run(): a.f(), b.f()",
        "a.py": "def f(): pass", "a/page.html": "",
        "b.py": "def f(): return 'not this one'", "b/__init__.py": "from p.b.c import f", "b/c.py": "def f(): pass",
    }  # fmt: skip
    assert units(tmp_path, files) == {"main.run", "a.f", "b.c.f"}


def test_cuts(tmp_path):
    files = {"main.py": "def run(): f(), g()\ndef f(): h()\ndef g(): h()\ndef h(): pass"}
    code = Code(write(tmp_path, files))

    def names(*cuts):
        cut = code.fingerprint(["p.main:run"], [(f"p.main:{one}", f"p.main:{other}") for one, other in cuts])
        return {unit.removeprefix("p.main.") for unit in cut.units}

    assert names() == names(("f", "h")) == {"run", "f", "g", "h"}
    assert names(("run", "f")) == {"run", "g", "h"}
    assert names(("f", "h"), ("g", "h")) == {"run", "f", "g"}
    with pytest.raises(UserError, match=r"p\.main:run does not lead to p\.main:h"):
        names(("run", "h"))


FILES = {
    "q/__init__.py": "",
    "q/reading.py": "",
    "q/templates/page.html": "<p>",
    "q/templates/deep/part.html": "<b>",
    "q/script.py": "def helper(): pass\nif __name__ == '__main__':\n    helper()",
    "r/__init__.py": "",
    "r/task.yaml": "run: !function p.r.scores.score",
    "r/scores.py": "def score(): pass\ndef unused(): pass",
}
TEMPLATES = {"p/q/templates/page.html", "p/q/templates/deep/part.html"}
READERS = {
    "by __file__": ("from pathlib import Path\nHERE = Path(__file__).parent\ndef run(): return HERE", TEMPLATES),
    "by a package's name": (
        "from importlib.resources import files\nPACKAGE = 'p.r'\ndef run(): return files(PACKAGE)",
        TEMPLATES | {"p/r/task.yaml", "p.r.scores.score"},
    ),
    "by a loader": ("import jinja2\ndef run(): return jinja2.PackageLoader('p.q')", TEMPLATES),
    "inside of a function": ("def run():\n    from jinja2 import PackageLoader as P\n    return P('p.q')", TEMPLATES),
    "a program": (
        "from pathlib import Path\ndef run(): return Path(__file__).with_name('script.py')",
        TEMPLATES | {"p.q.script.helper", "p.q.script.<import>"},
    ),
    "a folder above": (
        "from pathlib import Path\ndef run(): return Path(__file__).parents[1] / 'r'",
        TEMPLATES | {"p/r/task.yaml", "p.r.scores.score"},
    ),
    "none": ("def run(): return 'p.r'", set()),
    "by what is not reached": ("HERE = __file__\ndef run(): return 'p.r'", set()),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_files_of_the_package(reader, tmp_path):
    text, expected = READERS[reader]
    found = fingerprint(tmp_path, FILES | {"q/reading.py": text}, "p.q.reading:run").units
    assert set(found) - {"p.q.reading.run", "p.q.reading.HERE", "p.q.reading.PACKAGE"} == expected


def test_modules_on_the_way_to_what_a_file_names_are_imported(tmp_path):
    files = {"again.py": "from p.r.scores import score", "r/task.yaml": "run: !function p.again.score"}
    text = "from pathlib import Path\ndef run(): return Path(__file__).parents[1] / 'r'"
    found = fingerprint(tmp_path, FILES | files | {"q/reading.py": text}, "p.q.reading:run")
    assert "p.r.scores.score" in found.units
    assert {"p.again", "p.r.scores"} <= set(found.modules)


def test_the_bytes_of_files_count(tmp_path):
    files = FILES | {"q/reading.py": READERS["by __file__"][0]}
    before = fingerprint(tmp_path / "before", files, "p.q.reading:run").hashes
    changed = files | {"q/templates/page.html": "<p> "}
    after = fingerprint(tmp_path / "after", changed, "p.q.reading:run").hashes
    assert {unit for unit in before if before[unit] != after[unit]} == {"p/q/templates/page.html"}
    assert before.keys() == after.keys()


def test_an_edit_changes_the_kinds_that_reach_it_alone(tmp_path):
    files = {
        "one.py": "from p.shared import both, first\ndef run(): both(), first()",
        "two.py": "from p.shared import both, second\ndef run(): both(), second()",
        "shared.py": "def both(): return 1\ndef first(): return 2\ndef second(): return 3",
    }

    def digests(folder, shared):
        code = Code(write(tmp_path / folder, files | {"shared.py": shared}))
        return [code.fingerprint([f"p.{kind}:run"]).digest for kind in ("one", "two")]

    before = digests("before", files["shared.py"])
    for number, expected in ((1, [True, True]), (2, [True, False]), (3, [False, True])):
        after = digests(str(number), files["shared.py"].replace(str(number), "4"))
        assert [old != new for old, new in zip(before, after, strict=True)] == expected
