"""dvc.yaml: its params exist, and a change runs exactly what depends on it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ream.analysis.contents import tables_of
from ream.commands.stage import STAGES
from ream.params import Params, load_params, parse_params
from ream.stages.report.results import collect_results
from ream.workspace.cells import read_cells
from ream.workspace.layout import Workspace
from tests.graphs import ROOT, build_graph, dvc, ran, run_all


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_graph(tmp_path_factory.mktemp("graph"))


def of_mix(mix: str) -> set[str]:
    return {
        f"saliency@{mix}",
        f"grouping@{mix}-reap",
        f"alignment@{mix}-reap",
        f"sequential@{mix}-ream-4",
        f"evaluate@{mix}",
    } | ({f"{stage}-extra@wordy-frequency" for stage in ("grouping", "alignment")} if mix == "wordy" else set())


@pytest.mark.timeout(600)
def test_a_change_runs_exactly_what_depends_on_it(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(graph)
    shared = {"model", "items", "evaluate-original", "metrics", "report", "merge@small", "rank@even"}
    shared |= {f"{stage}@{source}" for stage in ("calibration", "statistics") for source in ("prose", "code")}
    assert run_all(graph) == shared | of_mix("even") | of_mix("wordy")
    assert ran(dvc(graph, "repro")) == set(), "nothing has changed"
    before = (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes()
    params = (graph / "params.yaml").read_text()
    (graph / "params.yaml").write_text(params.replace("prose: 0.8", "prose: 0.1"))
    assert ran(dvc(graph, "repro")) == of_mix("wordy") | {"metrics", "report"}, (
        "and no statistics, nothing of another mix"
    )
    assert (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes() != before
    (graph / "params.yaml").write_text(params)
    assert ran(dvc(graph, "repro")) == set(), "going back is taken from DVC's cache"
    assert (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes() == before
    scores = json.loads(dvc(graph, "metrics", "show", "metrics", "--json"))[""]["data"]
    losses = {name.removeprefix("metrics/"): file["data"].get("loss") for name, file in scores.items()}
    assert losses["models/wordy/4-reap.json"] != losses["models/even/4-reap.json"]
    best = scores["metrics/headline.json"]["data"]
    assert losses["models/original.json"] == best["loss"] > 0
    assert best["loss@4"] == min(loss for name, loss in losses.items() if "/4-" in name)
    assert "models/wordy/4-frequency.json" in losses
    assert "models/even/4-frequency.json" not in losses
    assert (graph / "models/small/config.json").exists()
    assert "wordy" in (graph / "reports/index.html").read_text()
    earlier_results_stand_beside_ours(graph)


def earlier_results_stand_beside_ours(graph: Path) -> None:
    """Imported results appear in the tables, with a suite that has their tasks."""
    (graph / "earlier.csv").write_text("model,method,experts,boolq,gsm8k\nmodel,reap,4,51.5,42.5\n")
    tree = yaml.safe_load((graph / "params.yaml").read_text())
    tree["imports"] = {"earlier": {"path": "earlier.csv"}}
    tree["suites"]["tiny"] |= {"mc": ["boolq"], "gen": ["gsm8k"]}
    params, workspace = parse_params(tree, "params.yaml"), Workspace(graph / "artifacts")
    results = collect_results(params, workspace, read_cells(params, workspace))
    assert [row.origin for row in results.rows if row.gen is not None] == ["earlier"]
    assert any(42.5 in row for row in tables_of(results)[0].rows)


def keys(stage: dict) -> list[str]:
    body = stage.get("do", stage)
    return body.get("params", [])


def test_params_of_the_graph_exist() -> None:
    """Every key is in params.yaml, which DVC reads, and in the tree of settings, so that no typo goes unnoticed."""
    params, tree = load_params(ROOT / "params.yaml"), yaml.safe_load((ROOT / "params.yaml").read_text())
    entries = {
        "${item.source}": params.run.sources,
        "${item.mix}": params.run.mixes,
        "${item.method}": params.run.methods(),
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
    modules = {path.stem for path in (ROOT / "ream" / "stages").iterdir() if not path.name.startswith("__")}
    assert modules == set(STAGES), "and nothing else"


def test_sections_of_params_are_the_sections_of_the_tree() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(tree) == set(Params.model_fields)
