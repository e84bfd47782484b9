"""Imports point inward: the core knows nothing of the rest, and what only decides or checks is light to import."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ream

ROOT = Path(ream.__file__).parent
PACKAGES = ["ream.core", "ream.core.refit"]
CORE = {
    ".".join(path.relative_to(ROOT / "core").with_suffix("").parts): path
    for path in sorted((ROOT / "core").rglob("*.py"))
    if path.stem != "__init__"
}
LIGHT = ["ream.core.sums", "ream.core.saliency", "ream.core.similarity", "ream.core.grouping", "ream.core.recipe"]


def loaded_by(modules):
    """Names of sys.modules after importing the modules in a fresh interpreter."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_core_has_the_modules_it_is_tested_for():
    here = Path(__file__).parent
    tests = {path.relative_to(here).with_suffix("") for path in here.rglob("test_*.py")}
    assert CORE.keys() <= {".".join((*test.parts[:-1], test.name.removeprefix("test_"))) for test in tests}


@pytest.mark.parametrize("name", CORE)
def test_core_sources_name_only_the_core(name):
    for node in ast.walk(ast.parse(CORE[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for imported in names:
            assert imported.split(".")[0] != "ream" or imported.startswith("ream.core."), imported


def test_core_loads_only_the_core():
    modules = loaded_by([f"ream.core.{name}" for name in CORE])
    assert {name for name in modules if name.split(".")[0] == "ream"} == {
        "ream", *PACKAGES, *(f"ream.core.{name}" for name in CORE)
    }  # fmt: skip
    assert not modules & {"transformers", "datasets", "pydantic", "yaml", "typer", "lm_eval"}


@pytest.mark.parametrize("modules", [LIGHT, ["ream.params"]], ids=["decisions", "params"])
def test_decisions_and_parameters_are_light(modules):
    loaded = loaded_by(modules)
    assert set(modules) <= loaded
    assert not loaded & {"torch", "transformers", "datasets", "lm_eval", "matplotlib"}
