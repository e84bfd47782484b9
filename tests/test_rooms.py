"""The house: which room may import which, no circle among modules, and how large files and functions are."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import ream

SOURCES = Path(ream.__file__).parent
PLAIN = {"ream", "errors", "machine"}  # what every room but the core may import
MODELS = {
    "models.dtypes",
    "models.stored_dtypes",
    "models.quantization",
    "models.storage",
    "models.layers",
    "models.family",
}
ANALYSIS = {"analysis.results", "analysis.numbers", "analysis.tables", "analysis.figures", "analysis.html"}
RUNNING = {*PLAIN, *MODELS, "core", "models.inspection", "models"}
# Room to the rooms it may import; itself always. Each names only rooms that stand above it, so there is no import
# upward. A room is a folder of ream/, or a file where one stands alone; the files of models/ itself are `models`.
ROOMS = {
    "ream": set(),  # the version
    "errors": set(),
    "machine": {"errors"},
    "code": {"errors", "machine"},
    "core": set(),
    "params": {"errors", "machine", "core"},
    "models.stored_dtypes": set(),
    "models.dtypes": {"models.stored_dtypes"},
    "models.quantization": {*PLAIN, "models.dtypes", "models.stored_dtypes"},
    "models.storage": {*PLAIN, "models.dtypes", "models.stored_dtypes", "models.quantization"},
    "models.layers": {"errors"},
    "models.family": {*PLAIN, "core", "models.quantization", "models.storage", "models.layers"},
    "models.inspection": {*PLAIN, *MODELS},
    "models": {*PLAIN, *MODELS, "core"},
    "calibration": {*PLAIN, "params"},
    "walk": RUNNING,
    "recipe": RUNNING,
    "search.records": PLAIN,
    "compress": {*RUNNING, "walk", "recipe"},
    "estimate": {*RUNNING, "walk", "compress"},
    "evaluation": {*RUNNING, "params", "calibration", "walk", "recipe"},
    "analysis.results": {*PLAIN, "params", "evaluation"},
    "analysis.numbers": {"core", "evaluation", "analysis.results", "search.records"},
    "analysis.tables": {"evaluation", "analysis.results", "analysis.numbers"},
    "analysis.figures": {*PLAIN, "evaluation", "analysis.results", "analysis.numbers", "analysis.tables"},
    "analysis.html": {
        "core", "evaluation", "analysis.results", "analysis.numbers", "analysis.tables", "analysis.figures"
    },
    "analysis": {"evaluation", *ANALYSIS},
    "workspace": {*RUNNING, "code", "params", "calibration", "walk", "recipe", "evaluation"},
    "search": {
        *RUNNING, "params", "calibration", "walk", "recipe", "search.records", "compress", "evaluation",
        "analysis.results", "analysis.numbers", "workspace",
    },
    "stages": {
        *RUNNING, "params", "calibration", "walk", "recipe", "compress", "evaluation", *ANALYSIS, "analysis",
        "workspace", "search.records", "search",
    },
    "commands": {
        *RUNNING, "params", "calibration", "walk", "recipe", "search.records", "compress", "estimate", "evaluation",
        "workspace", "stages",
    },
    "__main__": {"commands"},
    "api": {*RUNNING, "recipe", "estimate", "evaluation", "commands"},
}  # fmt: skip


def name_of(path: Path) -> str:
    """A module's name below ream, such as core.sums; a package's own name for its __init__.py."""
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "ream"


MODULES = {name_of(path): path for path in sorted(SOURCES.rglob("*.py"))}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(name: str, modules: dict[str, Path]) -> set[str]:
    """The modules of ream that one imports, also inside of functions and for type checkers alone."""
    found = set()
    for node in nodes(modules[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            wanted = [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            wanted = [(alias.name, "") for alias in node.names]
        else:
            continue
        for module, member in wanted:
            if module.partition(".")[0] == "ream":
                inside = module.partition(".")[2] or "ream"
                whole = member if inside == "ream" else f"{inside}.{member}"
                found.add(whole if whole in modules else inside)
    return found - {name}


def room(name: str) -> str:
    """The room of a module: the longest name in the table that its own begins with."""
    return max((each for each in ROOMS if name == each or name.startswith(f"{each}.")), key=len)


def test_each_room_names_only_rooms_above_it():
    above: set[str] = set()
    for each, allowed in ROOMS.items():
        assert allowed <= above, each
        above.add(each)


def test_every_room_is_there_and_every_module_is_in_one():
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_modules_import_only_what_their_room_may():
    upward = {
        (name, imported)
        for name in MODULES
        for imported in imports(name, MODULES)
        if room(imported) not in {*ROOMS[room(name)], room(name)}
    }
    assert upward == set()


def circle(modules: dict[str, Path]) -> list[str]:
    """Modules that import each other in a circle; none where there is no circle."""
    try:
        TopologicalSorter({name: imports(name, modules) for name in modules}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_imports():
    assert circle(MODULES) == []


def test_no_stage_imports_another():
    """What two stages share lies in a room below."""
    stages = {name: name.split(".")[1] for name in MODULES if name.startswith("stages.")}
    assert len(set(stages.values())) == 21
    for name, stage in stages.items():
        shared = {imported for imported in imports(name, MODULES) if stages.get(imported, stage) != stage}
        assert shared == set(), name


def test_a_circle_is_found(tmp_path):
    for name, text in (("one", "from ream.two import b"), ("two", "def f():\n    from ream import one")):
        (tmp_path / f"{name}.py").write_text(text)
    assert set(circle({name: tmp_path / f"{name}.py" for name in ("one", "two")})) == {"one", "two"}


LONG_FILES = {"compress/sequential.py": "one class that reads from top to bottom as the method does"}
FUNCTION_LINES, FILE_LINES = 60, 250


def test_files_are_short_or_there_is_a_reason():
    lengths = {
        path.relative_to(SOURCES).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES.values()
    }
    assert {name for name, lines in lengths.items() if lines > FILE_LINES} == set(LONG_FILES)


def test_functions_are_short():
    lengths = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, path in MODULES.items()
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {function: lines for function, lines in lengths.items() if lines >= FUNCTION_LINES} == {}
