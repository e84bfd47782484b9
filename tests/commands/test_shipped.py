"""What ships: presets by name, the tasks where a folder has none, and completion of both and of methods."""

from pathlib import Path

import pytest

from ream.commands.options import METHODS, complete_method, complete_params
from ream.commands.scoring import ScoreRequest, scoring
from ream.commands.shipped import params_file, presets, task_folder
from ream.errors import UserError
from ream.machine.shipped import default_settings
from ream.params import load_params
from tests.tiny import ROOT

FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_of_params_is_a_preset():
    assert {name: path.resolve() for name, path in presets().items()} == {path.stem: path for path in FILES[1:]}


def test_a_preset_by_its_name_and_a_file_by_its_path(empty):
    assert params_file(Path("glm-4.5-air")).resolve() == ROOT / "params" / "glm-4.5-air.yaml"
    assert params_file(ROOT / "params" / "glm-4.5-air.yaml") == ROOT / "params" / "glm-4.5-air.yaml"
    (empty / "glm-4.5-air").mkdir()  # a model that is called as its preset
    assert params_file(Path("glm-4.5-air")).resolve() == ROOT / "params" / "glm-4.5-air.yaml"
    (empty / "mixtral-8x7b").write_text("")
    assert params_file(Path("mixtral-8x7b")) == Path("mixtral-8x7b")


def test_without_a_name_the_folders_own_file_or_the_shipped_one(empty):
    assert params_file(None) == params_file(Path("default")) == default_settings()
    (empty / "params.yaml").write_text("")
    assert params_file(None) == Path("params.yaml")


@pytest.mark.parametrize("name", ["params/glm-4.5-air.yaml", "glm-4.5-ari", "glm-4.5-air.yaml"])
def test_a_file_that_is_not_there_is_refused_with_the_nearest_preset(empty, name):
    with pytest.raises(UserError) as error:
        params_file(Path(name))
    assert str(error.value).startswith(f"--params: {name} does not exist; did you mean the preset 'glm-4.5-air'? ")
    assert str(error.value).endswith(f"name a params file, or a preset of ream: {', '.join(presets())}")


def test_the_shipped_tasks_are_used_where_there_are_none(empty):
    tasks = Path(task_folder("data/tasks"))
    assert tasks.resolve() == ROOT / "data" / "tasks"
    assert task_folder("tasks") == "tasks"
    assert scoring(ScoreRequest("model"), params_file(None)).evaluation.include == str(tasks)
    given = ScoreRequest("model", settings=("evaluation.include=other",))
    assert scoring(given, params_file(None)).evaluation.include == "other"
    (empty / "data" / "tasks").mkdir(parents=True)
    assert task_folder("data/tasks") == "data/tasks"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_methods_that_help_lists_are_those_of_every_shipped_file(path):
    assert tuple(load_params(path).methods) == METHODS
    assert load_params(path).evaluation.include == "data/tasks"


def test_completion(empty):
    assert complete_method("neurons") == ["neurons-refit", "neurons-fit"]
    assert complete_method("x") == []
    (empty / "mine").mkdir()
    for name in ("mine.yaml", "mine/own.yaml", "mine/note.txt"):
        (empty / name).write_text("")
    assert complete_params("mi") == ["mixtral-8x7b", "mine.yaml"]
    assert complete_params("mine/") == ["mine/own.yaml"]
    assert complete_params("nowhere/") == []
