"""What changes the meaning of a unit, and what does not."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from ream.code.code import Code
from ream.code.reader import Reader
from tests.code.packages import fingerprint

ROOT = Path(__file__).parents[2]

START = """
import dataclasses, functools, math
from typing import TYPE_CHECKING
LIMIT = 3

def scale(x, factor=2):
    return factor * x

class Base:
    rate = 1

@dataclasses.dataclass
class Point(Base):
    x: int = 1

    def length(self):
        return self.x

@functools.cache
def run(x):
    total = scale(x) + LIMIT + math.floor(Point().length())
    return f"{total:>{LIMIT}} units"
"""
SAME = {
    "comment": ("LIMIT = 3", "LIMIT = 3  # units\n\n"),
    "layout": ("return factor * x", "return (\n        factor *  x)"),
    "docstring of a function": ("return factor * x", "'''Scaled.'''\n    return factor * x"),
    "docstring of a class": ("rate = 1", '"""The base."""\n    rate = 1\n    """The rate."""'),
    "docstring of the module": ("\nimport dataclasses", '"""A module."""\nimport dataclasses'),
    "annotation of an argument": ("(x, factor=2):", "(x: int, factor: float = 2) -> float:"),
    "annotation of a method": ("length(self):", "length(self) -> int:"),
    "annotation of a variable": ("total = ", "total: int = "),
    "annotation of a constant": ("LIMIT = 3", "LIMIT: int = 3"),
    "declared variable": ("    total =", "    total: int\n    total ="),
    "import for type checkers": ("LIMIT =", "if TYPE_CHECKING:\n    import torch\nLIMIT ="),
    "unused import": ("LIMIT =", "import json\nLIMIT ="),
    "unused function": ("LIMIT =", "def unused():\n    return 1\n\nLIMIT ="),
    "unused constant": ("LIMIT =", "UNUSED = {1: 2}\nLIMIT ="),
    "__all__": ("LIMIT =", "__all__ = ['run']\nLIMIT ="),
    "pass": ("    return factor * x", "    pass\n    return factor * x"),
    "quotes": ('f"{total:>{LIMIT}} units"', "f'{total:>{LIMIT}} ' 'units'"),
}
DIFFERENT = {
    "constant": ("LIMIT = 3", "LIMIT = 4"),
    "kind of a constant": ("LIMIT = 3", "LIMIT = 3.0"),
    "True in place of 1": ("rate = 1", "rate = True"),
    "infinity in place of a name": ("return factor * x", "return 1e999 * x"),
    "operator": ("factor * x", "factor + x"),
    "default": ("factor=2", "factor=3"),
    "order of arguments": ("(x, factor=2)", "(factor, x=2)"),
    "argument by name only": ("(x, factor=2)", "(x, *, factor=2)"),
    "decorator": ("functools.cache", "functools.lru_cache"),
    "no decorator": ("@functools.cache\n", ""),
    "annotation of a field": ("x: int = 1", "x: float = 1"),
    "field in place of an attribute": ("x: int = 1", "x = 1"),
    "base class": ("class Point(Base)", "class Point"),
    "base class's body": ("rate = 1", "rate = 2"),
    "method": ("return self.x", "return -self.x"),
    "name of an attribute": ("math.floor", "math.ceil"),
    "module behind a name": ("import dataclasses, functools, math", "import dataclasses, functools, cmath as math"),
    "text in an f-string": (" units", " miles"),
    "format": (":>{LIMIT}", ":<{LIMIT}"),
    "name": ("scale", "scaled"),
    "statement left out": ("    return factor * x", "    factor * x"),
    "None in place of nothing": ("    return factor * x", "    return None"),
}  # fmt: skip


@pytest.mark.parametrize("change", SAME)
def test_same_meaning(change, tmp_path):
    before = fingerprint(tmp_path / "before", {"main.py": START})
    assert START.count(SAME[change][0]) >= 1
    assert fingerprint(tmp_path / "after", {"main.py": START.replace(*SAME[change])}).hashes == before.hashes


@pytest.mark.parametrize("change", DIFFERENT)
def test_another_meaning(change, tmp_path):
    before = fingerprint(tmp_path / "before", {"main.py": START})
    assert START.count(DIFFERENT[change][0]) >= 1
    after = fingerprint(tmp_path / "after", {"main.py": START.replace(*DIFFERENT[change])})
    assert after.digest != before.digest


def test_a_unit_may_move_in_its_file(tmp_path):
    scale = START[START.index("def scale") : START.index("class Base")]
    moved = START.replace(scale, "") + "\n" + scale
    before = fingerprint(tmp_path / "before", {"main.py": START})
    assert fingerprint(tmp_path / "after", {"main.py": moved}).digest == before.digest
    assert set(before.units) == {f"p.main.{name}" for name in ("Base", "LIMIT", "Point", "run", "scale")}


def changed(folder, before, after, path="main.py", **files):
    """The units that an edit of one file changes, of those that ``p.main:run`` reaches."""
    others = {f"{name}.py": text for name, text in files.items()}
    old = fingerprint(folder / "before", others | {path: before}).hashes
    new = fingerprint(folder / "after", others | {path: after}).hashes
    return {unit for unit in {*old, *new} if old.get(unit) != new.get(unit)}


def test_all_bindings_of_a_name_are_one_unit(tmp_path):
    text = "LIMIT = 1\nLIMIT = 2\ndef run():\n    return LIMIT"
    assert changed(tmp_path, text, text.replace("LIMIT = 1", "LIMIT = 3")) == {"p.main.LIMIT"}


def test_several_targets(tmp_path):
    text = "A, (B, *C) = D = 1, (2, 3)\ndef run():\n    return C, D"
    assert changed(tmp_path, text, text.replace("3", "4")) == {"p.main.C", "p.main.D"}


def test_docstrings_count_where_they_are_read(tmp_path):
    text = 'def helper():\n    """Helps."""\ndef run():\n    return helper.__doc__'
    assert changed(tmp_path, text, text.replace("Helps", "Hinders")) == {"p.main.helper"}


def test_the_text_does_not_depend_on_the_version_of_python():
    """What versions of Python differ in: parts of f-strings, type parameters, positions."""
    reader = Reader("p")
    reader.statements(ast.parse('def f(x, *, y=-1):\n    return f"a" "b" f"{x!r:>{y}}" "c"').body)
    assert "".join(reader.text) == (
        "FunctionDef(f,[][][UnaryOp(op=USub()operand==1,)]x,*y,{Return(value="
        "f('ab',FormattedValue(value=x,conversion=114,format_spec=f('>',FormattedValue(value=y,conversion=-1,)''))'c')"
        ")})"
    )


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_other_versions_of_python_agree(version):
    """The fingerprint of ream's largest stage, by a Python of another version where this machine has one."""
    own = ROOT / "ream"
    program = f"""
from pathlib import Path
from ream.code.code import Code
print(Code(Path({str(own)!r})).fingerprint(["ream.stages.report:run"]).digest)
"""
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", "import ast"], capture_output=True).returncode:
        pytest.skip(f"no Python {version}")
    done = subprocess.run([python, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Code(own).fingerprint(["ream.stages.report:run"]).digest
