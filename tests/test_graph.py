"""dvc.yaml: its params exist, and a change runs exactly what depends on it."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ream.analysis.contents import tables_of
from ream.commands.stage_entries import STAGES, entries_of_all
from ream.params import Params, load_params, parse_params
from ream.params.written_out import resolve
from ream.stages.report.results import collect_results
from ream.workspace.cells import read_cells
from ream.workspace.codes import WITHOUT
from ream.workspace.held_settings import check_written
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.outputs import OUTPUTS
from tests.graph_edits import ALL, extra
from tests.graphs import ROOT, build_graph, dvc, ran, run_all
from tests.subsets import some_slow


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A graph whose stages have all run."""
    folder = build_graph(tmp_path_factory.mktemp("graph"))
    with contextlib.chdir(folder):
        assert run_all(folder) == ALL
        yield folder


def of_mix(mix: str) -> set[str]:
    return {
        f"mixture@{mix}",
        f"saliency@{mix}",
        f"grouping@{mix}-reap-4",
        f"alignment@{mix}-reap-4",
        f"evaluate@{mix}-reap-4",
        f"sequential@{mix}-ream-4",
        f"evaluate-sequential@{mix}-ream-4",
    } | (extra([4]) if mix == "wordy" else set())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_change_runs_exactly_what_depends_on_it(graph: Path) -> None:
    assert ran(dvc(graph, "repro")) == set(), "nothing has changed"
    before = (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes()
    params = (graph / "params.yaml").read_text()
    (graph / "params.yaml").write_text(params.replace("prose: 0.8", "prose: 0.1"))
    assert ran(dvc(graph, "repro")) == of_mix("wordy") | {"check", "metrics", "report"}, (
        "and no statistics, nothing of another mix"
    )
    assert (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes() != before
    (graph / "params.yaml").write_text(params)
    assert ran(dvc(graph, "repro")) == set(), "going back is taken from DVC's cache"
    assert (graph / "artifacts/recipes/wordy/reap/4.safetensors").read_bytes() == before
    scores = json.loads(dvc(graph, "metrics", "show", "metrics", "--json"))[""]["data"]
    tables = {name: file["data"] for name, file in scores.items() if isinstance(file["data"], dict)}
    losses = {name.removeprefix("metrics/"): data.get("loss") for name, data in tables.items()}
    assert losses["models/wordy/4-reap.json"] != losses["models/even/4-reap.json"]
    best = scores["metrics/headline.json"]["data"]
    assert losses["models/original.json"] == best["loss"] > 0
    assert best["loss@4"] == min(loss for name, loss in losses.items() if "/4-" in name)
    assert "models/wordy/4-frequency.json" in losses
    assert "models/even/4-frequency.json" not in losses
    assert (graph / "models/small/config.json").exists()
    assert "wordy" in (graph / "reports/index.html").read_text()
    earlier_results_stand_beside_ours(graph)


@pytest.mark.slow
def test_negating_a_saliency_in_the_code_runs_what_can_reach_it(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the graph's own copy of the code; `dvc status` says so beforehand."""
    (graph / "ream").unlink()
    shutil.copytree(ROOT / "ream", graph / "ream", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(graph))
    assert ran(dvc(graph, "repro", "saliency@even")) == set(), "a copy is the same code"
    before = (graph / "artifacts/saliency/even.safetensors").read_bytes()
    path = graph / "ream" / "core" / "saliency.py"
    path.write_text(path.read_text().replace("return _mean(sums.weighted", "return -_mean(sums.weighted"))
    assert "modified:           ream" in dvc(graph, "status", "code")
    assert ran(dvc(graph, "repro", "saliency@even", "statistics")) == {"code", "saliency@even"}
    assert (graph / "artifacts/saliency/even.safetensors").read_bytes() != before
    path.write_text((ROOT / "ream" / "core" / "saliency.py").read_text() + "\n# a comment\n")
    assert ran(dvc(graph, "repro", "saliency@even")) == {"code"}, "the former result comes from DVC's cache"
    assert (graph / "artifacts/saliency/even.safetensors").read_bytes() == before


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


KEYS = {"watch": "{local}", "merge": "{export}", "fidelity": "{export}"}  # what the key of a foreach stands for


def definitions() -> dict[str, dict]:
    """The stages of dvc.yaml, with {mix} and the like for what DVC puts in."""
    text = (ROOT / "dvc.yaml").read_text().replace("${evaluation.suite}", "{suite}")
    stages = yaml.safe_load(re.sub(r"\$\{item\.(\w+)\}", r"{\1}", text))["stages"]
    return {
        name: yaml.safe_load(yaml.safe_dump(stage.get("do", stage)).replace("${key}", KEYS.get(name, "")))
        for name, stage in stages.items()
    }


def kind_of(stage: dict) -> str:
    return stage["cmd"].split()[2]


def test_a_stage_watches_the_settings_that_dvc_records_for_it() -> None:
    for name, stage in definitions().items():
        assert sorted(stage.get("params", [])) == sorted(STAGES[kind_of(stage)].settings), name


def test_a_stage_discards_the_outputs_that_dvc_records_for_it() -> None:
    cell = {"source": "{source}", "method": "{method}", "experts": "{experts}", "export": "{export}"}
    options = StageOptions(**cell, mix="{mix}", local="{local}")
    for name, stage in definitions().items():
        listed = [path for key in ("outs", "metrics", "plots") for out in stage.get(key, []) for path in as_paths(out)]
        of_stage = StageOptions() if name == "evaluate-original" else options
        written = OUTPUTS[kind_of(stage)](Workspace(Path("artifacts")), of_stage)
        if name == "report":
            assert {Path(path).parts[0] for path in listed} == {str(path) for path in written}
        else:
            assert sorted(listed) == sorted(map(str, written)), name


def as_paths(out: str | dict) -> list[str]:
    return [out] if isinstance(out, str) else list(out)


def test_every_stage_depends_on_its_code() -> None:
    for name, stage in definitions().items():
        kind = kind_of(stage)
        if kind not in WITHOUT:
            assert f"artifacts/code/{kind}.json" in stage["deps"], name


FILES = ["params.yaml", *(f"params/{path.name}" for path in sorted((ROOT / "params").glob("*.yaml")))]


@pytest.mark.parametrize("name", some_slow(FILES, keep=["params.yaml", "params/paper-demo.yaml"]))
def test_a_params_file_has_what_dvc_records(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    resolve(ROOT / name, path)
    params = load_params(path)
    check_written(path, entries_of_all(params))
    for method in params.run.methods():
        check_written(path, [("methods", method)])


def test_there_are_many_params_files() -> None:
    assert len(FILES) > 10


def test_every_stage_of_the_graph_is_a_module() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    commands = {kind_of(stage.get("do", stage)) for stage in stages.values()}
    assert commands == set(STAGES)
    modules = {path.stem for path in (ROOT / "ream" / "stages").iterdir() if not path.name.startswith("__")}
    assert modules == set(STAGES), "and nothing else"


def test_sections_of_params_are_the_sections_of_the_tree() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(tree) == set(Params.model_fields)


def test_dvc_stops_where_params_yaml_extends_another_file(tmp_path):
    from dvc.parsing import ResolveError
    from dvc.repo import Repo

    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "params.yaml").write_text("extends: default\n" + (ROOT / "params.yaml").read_text())
    with Repo.init(str(tmp_path), no_scm=True) as repo, pytest.raises(ResolveError, match="cannot redefine 'extends'"):
        repo.index  # noqa: B018
