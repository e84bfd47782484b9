"""dvc.yaml: its params exist, and a change runs exactly what depends on it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ream.params import Params, load_params
from ream.stages.run import STAGES
from tests.tiny import build

ROOT = Path(__file__).parent.parent


def dvc(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def ran(output: str) -> set[str]:
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's own dvc.yaml on a tiny model, two local sources, two mixes, one method of each kind."""
    folder = tmp_path_factory.mktemp("graph")
    shutil.copy(ROOT / "dvc.yaml", folder)
    build(folder / "model")
    for source, words in (("prose", "the cat sat on a mat and saw "), ("code", "def f(x): return x + 1; ")):
        for index in range(12):
            (folder / f"{source}-{index}.txt").write_text(f"{index} {words * 12}")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree |= {
        "model": {"path": "model"},
        "calibration": {"sequences": 6, "tokens": 16},
        "sources": {name: {"kind": "files", "paths": [f"{name}-*.txt"]} for name in ("prose", "code")},
        "statistics": {"probes": 32},
        "mixes": {"even": {"prose": 0.5, "code": 0.5}, "wordy": {"prose": 0.8, "code": 0.2}},
        "grouping": {"group_size": 4},
        "suites": {"tiny": {"loss": ["code"], "loss_sequences": 4, "loss_tokens": 16}},
        "evaluation": {"suite": "tiny"},
        "run": {
            "sources": ["prose", "code"],
            "mixes": ["even", "wordy"],
            "one_shot": ["reap"],
            "sequential": ["ream"],
            "experts": [4],
        },
        "exports": {"small": {"mix": "even", "method": "reap", "experts": 4}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    return folder


def of_mix(mix: str) -> set[str]:
    return {
        f"saliency@{mix}",
        f"grouping@{mix}-reap",
        f"alignment@{mix}-reap",
        f"sequential@{mix}-ream-4",
        f"evaluate@{mix}",
    }


@pytest.mark.timeout(600)
def test_a_change_runs_exactly_what_depends_on_it(graph: Path) -> None:
    shared = {"model", "items", "evaluate-original", "report", "merge@small"}
    shared |= {f"{stage}@{source}" for stage in ("calibration", "statistics") for source in ("prose", "code")}
    assert ran(dvc(graph, "repro")) == shared | of_mix("even") | of_mix("wordy")
    assert ran(dvc(graph, "repro")) == set(), "nothing has changed"
    before = (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes()
    params = (graph / "params.yaml").read_text()
    (graph / "params.yaml").write_text(params.replace("prose: 0.8", "prose: 0.1"))
    assert ran(dvc(graph, "repro")) == of_mix("wordy") | {"report"}, "and no statistics, nothing of another mix"
    assert (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes() != before
    (graph / "params.yaml").write_text(params)
    assert ran(dvc(graph, "repro")) == set(), "going back is taken from DVC's cache"
    assert (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes() == before
    scores = json.loads(dvc(graph, "metrics", "show", "--json"))[""]["data"]["reports/metrics.json"]["data"]
    assert scores["wordy"]["reap"]["4"]["mean_loss"] != scores["even"]["reap"]["4"]["mean_loss"]
    assert scores["original"]["mean_loss"] > 0
    assert (graph / "models/small/config.json").exists()


def keys(stage: dict) -> list[str]:
    body = stage.get("do", stage)
    return body.get("params", [])


def test_params_of_the_graph_exist() -> None:
    """Each key is in params.yaml itself, which DVC reads, and is one of ours, so that a typo cannot hide in either."""
    params, tree = load_params(ROOT / "params.yaml"), yaml.safe_load((ROOT / "params.yaml").read_text())
    entries = {
        "${item.source}": params.run.sources,
        "${item.mix}": params.run.mixes,
        "${item.method}": params.run.one_shot + params.run.sequential,
        "${key}": list(params.exports),
    }
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    checked = 0
    for name, stage in stages.items():
        for key in keys(stage):
            variable = re.search(r"\$\{.*\}", key)
            for value in entries[variable[0]] if variable else [""]:
                target: object = params
                written = tree
                for part in (key.replace(variable[0], value) if variable else key).split("."):
                    fields = target if isinstance(target, dict) else dict(target)
                    assert part in fields, f"{name}: params '{key}'"
                    assert part in written, f"{name}: params '{key}'"
                    target, written = fields[part], written[part]
                    checked += 1
    assert checked > 30


def test_every_stage_of_the_graph_is_a_module() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    commands = {stage.get("do", stage)["cmd"].split()[2] for stage in stages.values()}
    assert commands == set(STAGES)
    for command in commands:
        assert (ROOT / "ream" / "stages" / f"{command}.py").exists()


def test_sections_of_params_are_the_sections_of_the_tree() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(tree) == set(Params.model_fields)
