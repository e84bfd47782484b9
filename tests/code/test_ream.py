"""ream itself: what stages really import, execute and read on a tiny model is in their fingerprints."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import yaml

from ream.code.code import Code
from ream.code.kinds import PARAMS, READ, SECTIONS, cuts_of, roots_of
from ream.commands.stage_entries import STAGES
from ream.params import Params, load_params
from ream.workspace.codes import WITHOUT
from tests import tiny

ROOT = Path(__file__).parents[2]
LIGHT = ("watch", "inputs", "check", "model", "calibration", "statistics", "saliency", "grouping", "alignment")
KINDS = tuple(stage for stage in STAGES if stage not in WITHOUT)  # the stages that have a fingerprint
LAYOUT = "ream.workspace.layout"  # names of artifacts, which change no result; dvc.yaml has them, too
ASKED = ("ream.workspace.original:asked_facts", "ream.params.reading:load_params")
COMPARED = {kind: {"calibration", "grouping", "methods", "mixes"} for kind in ("evaluate", "rank", "fidelity", "merge")}
# What finds code by a string or runs it unseen, which the analysis does not follow.
UNSEEN = {"import_module", "__import__", "run_module", "run_path", "globals", "__init_subclass__", "__set_name__"}


@pytest.fixture(scope="module")
def code():
    return Code(ROOT / "ream")


def plan_of(folder, checkpoint, one_shot, sequential, suite, stages=tuple(STAGES)):
    """A plan for `tests.code.record`: stages on the tiny checkpoint with these methods and this suite."""
    params = tiny.write_params(folder, checkpoint, sequences=6, probes=32)
    tree = yaml.safe_load(params.read_text())
    tree["suites"], tree["evaluation"] = {"tiny": suite}, {"suite": "tiny", "include": str(ROOT / "data" / "tasks")}
    tree["run"] |= {"one_shot": one_shot, "sequential": sequential}
    tree["rank"] = {"sequences": 2}
    tree["run"]["search"] = [one_shot[0]]
    tree["search"] = {
        "objectives": ["a", "b", *(["mc"] if suite else [])], "trials": 5, "batch": 2, "sequences": 2, "rungs": 2,
        "final_sequences": 2, "candidates": 2, "sampler": "tpe",
    }  # fmt: skip
    tree["report"] = {"published": str(ROOT / "data" / "published")}
    tree["exports"] = {"small": {"mix": "balanced", "method": sequential[0], "experts": 4}}
    tree["local"] = {"all": str(folder), "model": str(checkpoint), "data": str(ROOT / "data")}
    params.write_text(yaml.safe_dump(tree, sort_keys=False))
    mix = {"mix": "balanced"}
    runs = [("watch", {"local": name}) for name in tree["local"]]
    runs += [("inputs", {}), ("check", {}), ("model", {})]
    runs += [(stage, {"source": source}) for stage in ("calibration", "statistics") for source in ("a", "b")]
    runs += [("mixture", mix), ("saliency", mix)]
    cells = {method: mix | {"method": method, "experts": 4} for method in (*one_shot, *sequential)}
    runs += [(stage, cells[method]) for stage in ("grouping", "alignment") for method in one_shot]
    runs += [("sequential", cells[method]) for method in sequential]
    runs += [("items", {}), ("evaluate", {}), *(("evaluate", cell) for cell in cells.values()), ("rank", mix)]
    runs += [("search", {"method": one_shot[0], "experts": 4})]
    runs += [("fidelity", {"export": "small"}), ("merge", {"export": "small"}), ("metrics", {}), ("report", {})]
    plan = folder / "plan.json"
    chosen = [(stage, options) for stage, options in runs if stage in stages]
    plan.write_text(json.dumps({"params": str(params), "root": str(folder), "stages": chosen}))
    return plan


def record(plan):
    """What the stages of a plan import, execute and read, by kind of stage."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.code.record", str(plan)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@cache
def statements(path):
    """The top-level statements of a file of ream."""
    return ast.parse(path.read_bytes()).body


@cache
def unit_at(file, line):
    """The names of the units that a line of a module is part of, any of which would do."""
    relative = Path(file).relative_to(ROOT).with_suffix("")
    module = ".".join(relative.parts).removesuffix(".__init__")
    for statement in statements(Path(file)):
        first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
        if first <= line <= statement.end_lineno:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                return {f"{module}.{statement.name}"}
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                return {f"{module}.{name.id}" for name in ast.walk(statement) if isinstance(name, ast.Name)}
            return {f"{module}.<import>"}
    raise AssertionError(f"{file}:{line} is in no statement")


def missed(code, kind, ran):
    """What a kind of stage ran or read that is not in its fingerprint."""
    roots = roots_of(kind)
    cut, whole = code.fingerprint(roots, cuts_of(kind)), code.fingerprint(roots)
    found = {module for module in ran["modules"] if module not in (*cut.modules, LAYOUT)}
    compared = code.fingerprint(ASKED).hashes if kind in COMPARED else {}  # decides whether a recipe is refused
    for codes, units in ((ran["codes"], {*cut.hashes, *compared}), (ran["checks"], whole.hashes)):
        codes = [each for each in codes if (Path(each[0]), each[2]) != (ROOT / "ream" / "__init__.py", "__getattr__")]
        found |= {name for file, line, name in codes if not unit_at(file, line) & {*units, f"{LAYOUT}.Workspace"}}
    found |= {file for file in ran["files"] if Path(file).relative_to(ROOT).as_posix() not in cut.hashes}
    return found | (set(ran["sections"]) - READ[kind] - COMPARED.get(kind, set()))


def test_what_light_stages_execute_is_in_their_fingerprints(code, checkpoint, tmp_path):
    recorded = record(plan_of(tmp_path, checkpoint, ["reap", "hc-smoe"], ["ream"], {}, LIGHT))
    assert set(recorded) == set(LIGHT)
    assert min(len(ran["codes"]) for ran in recorded.values()) > 10
    assert {kind: missed(code, kind, ran) for kind, ran in recorded.items()} == {kind: set() for kind in LIGHT}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_all_stages_execute_is_in_their_fingerprints(code, checkpoint, tmp_path):
    """With all methods of params.yaml, and tasks of both kinds; every section that counts for a stage is read."""
    methods = load_params(ROOT / "params.yaml").methods
    one_shot = [name for name, method in methods.items() if not method.sequential]
    sequential = [name for name in methods if name not in one_shot]
    suite = {
        "mc": ["demo_result"], "gen": ["demo_arithmetic"], "limit": 2,
        "loss": ["math"], "loss_sequences": 2, "loss_tokens": 16,
    }  # fmt: skip
    recorded = record(plan_of(tmp_path, checkpoint, one_shot, sequential, suite))
    assert "ream.evaluation.demo_scoring" in recorded["evaluate"]["modules"]
    assert recorded["report"]["files"]
    assert recorded["merge"]["files"]
    assert {kind: missed(code, kind, ran) for kind, ran in recorded.items()} == {kind: set() for kind in KINDS}
    unread = {kind: READ[kind] - set(ran["sections"]) for kind, ran in recorded.items()}
    assert {kind: sections for kind, sections in unread.items() if sections} == {"rank": {"rank"}}, (
        "if none is held out"
    )


def test_what_ran_and_is_not_reached_is_noticed(code):
    """`missed` finds the module, the function, the file and the section that a fingerprint lacks."""
    saliency = ROOT / "ream" / "core" / "saliency.py"
    line = next(i for i, text in enumerate(saliency.read_text().splitlines(), 1) if text.startswith("def reap"))
    page = ROOT / "ream" / "analysis" / "html" / "templates" / "page.html"
    ran = {
        "modules": ["ream.core.saliency"], "codes": [[str(saliency), line, "reap"]], "checks": [],
        "files": [str(page)], "sections": ["mixes"],
    }  # fmt: skip
    assert missed(code, "saliency", ran) == {str(page)}
    assert missed(code, "items", ran) == {"ream.core.saliency", "reap", str(page), "mixes"}
    assert missed(code, "report", ran | {"modules": [], "codes": []}) == set()


def parsed(module):
    """The top-level statements of a module of ream."""
    path = ROOT / module.replace(".", "/")
    return statements(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


def test_every_section_that_reached_code_names_is_read(code):
    """Also by code that no test runs: ``params.SECTION`` and ``….params.SECTION``."""
    for kind in KINDS:
        read = set()
        for unit in code.fingerprint(roots_of(kind), cuts_of(kind)).units:
            module, _, name = unit.rpartition(".")
            if "/" in unit or unit.startswith("ream.params."):
                continue
            for node in (
                node for each in parsed(module) if getattr(each, "name", "") == name for node in ast.walk(each)
            ):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in ("params", "_params"):
                    read.add(node.attr)
        assert read & SECTIONS.keys() <= READ[kind] | COMPARED.get(kind, set()), kind


def test_sections_are_those_of_the_settings(code):
    assert SECTIONS.keys() == Params.model_fields.keys()
    assert set(READ) == set(KINDS)
    named = code.fingerprint([PARAMS]).hashes.keys()
    nothing = code.fingerprint(
        [PARAMS], [(PARAMS, unit) for units in SECTIONS.values() for unit in units]
    ).hashes.keys()
    sections = {
        f"{module}.{name}" for module, name in (unit.split(":") for units in SECTIONS.values() for unit in units)
    }
    # These two run when ream.params.run is imported, because of a default.
    assert named - nothing >= sections - {"ream.params.run.Run"}


def test_functions_that_task_files_name_are_roots(code):
    names = {
        name
        for path in (ROOT / "data" / "tasks").iterdir()
        for name in re.findall(r"!function (ream\S+)", path.read_text(encoding="utf-8"))
    }
    assert len(names) > 3
    assert names <= code.fingerprint(roots_of("evaluate"), cuts_of("evaluate")).hashes.keys()


def test_ream_has_one_dynamic_import_and_nothing_else_that_runs_unseen():
    found = set()
    for path in (ROOT / "ream").rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", "")))
            if name in UNSEEN or (name == "__getattr__" and node in tree.body):
                found.add((path.relative_to(ROOT).as_posix(), name))
    assert found == {
        ("ream/__init__.py", "__getattr__"),  # the Python API, which no stage uses
        ("ream/__init__.py", "import_module"),
        ("ream/machine/callable_package.py", "import_module"),
        ("ream/commands/stage.py", "import_module"),
        ("ream/models/family/derived/weightless.py", "import_module"),  # of transformers' modelling code, not of ream
    }


EDITS = {
    "ream.core.saliency.reap": {"saliency", "grouping", "sequential", "search"},
    "ream.core.alignment.align_groups": {"alignment", "sequential", "search"},
    "ream.evaluation.loss.window_loss": {"evaluate", "search"},
    "ream.params.sources.FilesSource": {"calibration", "inputs", "items", "search", "report"},
    "ream.analysis.tables.formats.RENDERERS": {"report"},
    "ream.analysis.html.page.page": {"report"},
    "ream/analysis/html/templates/page.html": {"report"},
    # vllm reads a checkpoint that evaluate writes; a search scores its last candidates as evaluate does
    "ream/recipe/templates/model_card.md.jinja": {"evaluate", "search", "merge"},
    "ream.evaluation.livecodebench.scoring.execute": {"evaluate", "search"},
    "ream.workspace.layout.Workspace": set(),
    "ream.commands.cli.main": set(),
    "ream.estimate.needs.estimate": set(),
}


def test_an_edit_changes_the_stages_that_can_execute_it_alone(code):
    reach = {kind: code.fingerprint(roots_of(kind), cuts_of(kind)).hashes for kind in KINDS}
    assert {unit: {kind for kind in KINDS if unit in reach[kind]} for unit in EDITS} == EDITS


def test_libraries_of_stages(code):
    def libraries(kind):
        return set(code.fingerprint(roots_of(kind), cuts_of(kind)).libraries)

    assert libraries("saliency") == {"numpy"}
    assert libraries("grouping") == {"numpy", "scipy"}
    assert {"lm-eval", "transformers", "tokenizers", "torch"} <= libraries("evaluate")
    assert {"python", "sympy", "networkx"} <= libraries("calibration"), "their documentation is calibration text"
    assert "matplotlib" in libraries("report")
    assert "lm-eval" not in libraries("report")


def test_files_are_small_and_the_whole_of_ream_takes_a_moment(tmp_path):
    def seconds():
        start = time.process_time()
        code = Code(ROOT / "ream", tmp_path)
        prints = [code.fingerprint(roots_of(kind), cuts_of(kind)).as_json() for kind in KINDS]
        taken = time.process_time() - start
        code.save()
        assert max(len(json.dumps(each, indent=1)) for each in prints) < 120_000
        return taken

    cold = seconds()
    assert cold < 5, "ten times what it takes"
    assert min(seconds() for _ in range(3)) < cold / 2
