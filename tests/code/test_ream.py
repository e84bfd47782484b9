"""ream itself: what stages really import and execute on a tiny model is in their fingerprints."""

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from ream.code.code import Code
from ream.code.kinds import roots_of
from ream.commands.stage import STAGES
from tests import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def code():
    return Code(ROOT / "ream")


def plan_of(folder, checkpoint, one_shot, sequential, suite):
    """A plan for `tests.code.record`: all stages on the tiny checkpoint with these methods and this suite."""
    params = tiny.write_params(folder, checkpoint, sequences=6, probes=32)
    tree = yaml.safe_load(params.read_text())
    tree["suites"], tree["evaluation"] = {"tiny": suite}, {"suite": "tiny", "include": str(ROOT / "data" / "tasks")}
    tree["run"] |= {"one_shot": one_shot, "sequential": sequential}
    tree["rank"] = {"sequences": 2}
    tree["report"] = {"published": str(ROOT / "data" / "published")}
    tree["exports"] = {"small": {"mix": "balanced", "method": sequential[0], "experts": 4}}
    params.write_text(yaml.safe_dump(tree, sort_keys=False))
    mix = {"mix": "balanced"}
    runs = [("model", {})]
    runs += [(stage, {"source": source}) for stage in ("calibration", "statistics") for source in ("a", "b")]
    runs += [("saliency", mix)]
    runs += [(stage, mix | {"method": method}) for stage in ("grouping", "alignment") for method in one_shot]
    runs += [("sequential", mix | {"method": method, "experts": 4}) for method in sequential]
    runs += [
        ("items", {}),
        ("evaluate", {}),
        ("evaluate", mix),
        ("rank", mix),
        ("merge", {"export": "small"}),
        ("report", {}),
    ]
    assert {name for name, _ in runs} == set(STAGES)
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"params": str(params), "root": str(folder), "stages": runs}))
    return plan


def record(plan):
    """What the stages of a plan import, execute and read, by kind of stage."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.code.record", str(plan)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@cache
def unit_at(file, line):
    """The names of the units that a line of a module is part of, any of which would do."""
    relative = Path(file).relative_to(ROOT).with_suffix("")
    module = ".".join(relative.parts).removesuffix(".__init__")
    for statement in ast.parse(Path(file).read_bytes()).body:
        first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
        if first <= line <= statement.end_lineno:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                return {f"{module}.{statement.name}"}
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                return {f"{module}.{name.id}" for name in ast.walk(statement) if isinstance(name, ast.Name)}
            return {f"{module}.<import>"}
    raise AssertionError(f"{file}:{line} is in no statement")


def missed(code, recorded):
    """What ran and is not in the fingerprint of its kind of stage."""
    found = set()
    for kind, ran in recorded.items():
        fingerprint = code.fingerprint(roots_of(kind))
        units = set(fingerprint.units)
        found |= {(kind, module) for module in ran["modules"] if module not in fingerprint.modules}
        found |= {(kind, name) for file, line, name in ran["codes"] if not unit_at(file, line) & units}
        found |= {(kind, file) for file in ran["files"] if Path(file).relative_to(ROOT).as_posix() not in units}
    return found


def test_what_stages_execute_is_in_their_fingerprints(code, checkpoint, tmp_path):
    suite = {"gen": ["demo_arithmetic"], "loss": ["math"], "loss_sequences": 2, "loss_tokens": 16, "limit": 2}
    recorded = record(plan_of(tmp_path, checkpoint, ["reap", "hc-smoe"], ["ream"], suite))
    assert set(recorded) == set(STAGES)
    assert min(len(ran["codes"]) for ran in recorded.values()) > 20
    assert missed(code, recorded) == set()
