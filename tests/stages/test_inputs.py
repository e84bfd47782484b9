"""Stages watch and inputs: every local file that a result depends on is watched, or refused."""

import json

import pytest
import yaml

from ream.commands.stage import run_stage
from ream.errors import UserError
from ream.workspace.layout import MODEL, REPORT, TASKS, Workspace
from tests import tiny
from tests.subsets import some_slow


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The tree of a params file in the working directory, with local files of every kind."""
    monkeypatch.chdir(tmp_path)
    tree = yaml.safe_load(tiny.write_params(tmp_path).read_text())
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "README.md"):
        (tmp_path / "model" / name).write_text(name)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("some text")
    (tmp_path / "tokens.parquet").write_text("rows")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text("task: mine\ndoc_to_text: !function mine.text\n")
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "mixes.csv").write_text("a,b\n")
    tree |= {
        "model": {"path": "model"},
        "sources": {
            "a": {"kind": "files", "paths": ["texts/*.txt"]},
            "b": {"kind": "tokens", "path": "tokens.parquet"},
            "c": {"kind": "builtin", "name": "math"},
            "d": {"kind": "hub", "dataset": "owner/name"},
        },
        "evaluation": {"suite": "none", "include": "tasks"},
        "report": {"published": "numbers"},
        "imports": {},
        "local": {"model": "model", "a": "texts", "b": "tokens.parquet", "tasks": "tasks", "numbers": "numbers"},
    }
    tree["run"]["sources"] = ["a", "b", "c", "d"]
    return tree


def run(tmp_path, tree):
    """The workspace after watch and inputs."""
    params, workspace = tmp_path / "params.yaml", Workspace(tmp_path / "artifacts")
    params.write_text(yaml.safe_dump(tree))
    for name in tree["local"]:
        run_stage("watch", {"local": name}, params, workspace)
    run_stage("inputs", {}, params, workspace)
    return workspace


def files(path):
    return sorted(json.loads(path.read_text())["files"])


def test_each_use_has_its_own_files(tmp_path, settings):
    workspace = run(tmp_path, settings)
    assert files(workspace.input(MODEL)) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert files(workspace.source_input("a")) == ["texts/a.txt"]
    assert files(workspace.source_input("b")) == ["tokens.parquet"]
    assert files(workspace.source_input("c")) == files(workspace.source_input("d")) == []
    assert "installation" in json.loads(workspace.source_input("c").read_text()), "the text of this Python"
    assert "installation" not in json.loads(workspace.source_input("d").read_text())
    assert files(workspace.input(TASKS)) == ["tasks/mine.yaml"]
    assert files(workspace.input(REPORT)) == ["numbers/mixes.csv"]


@pytest.mark.slow
def test_a_change_changes_the_file_of_its_use_alone(tmp_path, settings):
    workspace = run(tmp_path, settings)
    before = {path: path.read_bytes() for path in workspace.inputs.rglob("*.json")}
    (tmp_path / "texts" / "a.txt").write_text("other text")
    run(tmp_path, settings)
    assert [path for path, data in before.items() if path.read_bytes() != data] == [workspace.source_input("a")]


UNWATCHED = [
    ("model", "model.path: model is not watched"),
    ("a", "sources.a: texts/a.txt is not watched"),
    ("b", "sources.b: tokens.parquet is not watched"),
    ("tasks", "evaluation.include: tasks is not watched"),
    ("numbers", "report.published: numbers is not watched"),
]


@pytest.mark.parametrize(
    ("entry", "setting"),
    some_slow(UNWATCHED, keep=UNWATCHED[::3]),
)
def test_what_is_not_watched_is_refused(tmp_path, settings, entry, setting):
    del settings["local"][entry]
    with pytest.raises(UserError, match=f"{setting}, .* add it, or a folder above it, to the section local"):
        run(tmp_path, settings)
    assert not (tmp_path / "artifacts" / "inputs").exists()


def test_data_that_a_task_names_is_watched(tmp_path, settings):
    (tmp_path / "questions.jsonl").write_text("{}\n")
    task = {"task": "mine", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}}}
    (tmp_path / "tasks" / "mine.yaml").write_text(yaml.safe_dump(task))
    with pytest.raises(UserError, match=r"tasks/mine.yaml: data_files: questions.jsonl is not watched"):
        run(tmp_path, settings)
    settings["local"]["questions"] = "questions.jsonl"
    assert files(run(tmp_path, settings).input(TASKS)) == ["questions.jsonl", "tasks/mine.yaml"]


def test_a_hub_source_that_names_a_folder_is_local(tmp_path, settings):
    settings["sources"]["d"]["dataset"] = "texts"
    assert files(run(tmp_path, settings).source_input("d")) == ["texts/a.txt"]


def test_an_import_is_watched(tmp_path, settings):
    (tmp_path / "earlier.csv").write_text("model\n")
    settings["imports"] = {"earlier": {"path": "earlier.csv"}}
    with pytest.raises(UserError, match=r"imports.earlier: earlier.csv is not watched"):
        run(tmp_path, settings)
    settings["local"]["earlier"] = "earlier.csv"
    assert files(run(tmp_path, settings).input(REPORT)) == ["earlier.csv", "numbers/mixes.csv"]


def test_a_hub_model_has_no_files(tmp_path, settings):
    settings["model"] = {"path": "owner/model"}
    assert files(run(tmp_path, settings).input(MODEL)) == []


def test_an_entry_without_a_file_is_refused(tmp_path, settings):
    settings["local"]["nothing"] = "nowhere"
    with pytest.raises(UserError, match=r"local.nothing: there is no file at nowhere"):
        run(tmp_path, settings)


def test_half_written_files_are_not_listed(tmp_path, settings):
    (tmp_path / "texts" / ".b.txt.123.tmp").write_text("half")
    listed = json.loads(run(tmp_path, settings).watched("a").read_text())
    assert list(listed) == ["texts/a.txt"]
