"""What can only fail late is refused before the model is loaded."""

import json
import shutil

import pytest

from ream.evaluation.backends import hf
from ream.recipe import room
from tests import tiny
from tests.commands.test_cli import compress, model, one_line, params, ream  # noqa: F401 - fixtures


@pytest.fixture
def unloaded(monkeypatch):
    """Fails the test where a model is loaded; patched where it is used, since a first import would keep the patch."""
    monkeypatch.setattr(hf, "load_model", lambda *_: pytest.fail("the model was loaded"))


def settings(**suite):
    return [part for name, value in suite.items() for part in ("--set", f"suites.none.{name}={json.dumps(value)}")]


@pytest.mark.usefixtures("unloaded")
def test_the_results_file_of_evaluate(ream, model, params, tmp_path):  # noqa: F811
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for out, what in (
        ("folder", "folder is a folder; name a file"),
        ("file/x.json", "file is not a folder; choose another"),
    ):
        one_line(ream("evaluate", model, "--params", params, "--out", out), what)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("suite", "more", "words"),
    [
        ({"gen": ["humaneval"]}, [], ["task 'humaneval' executes code"]),
        ({"mc": ["winogrande"]}, [], ["its data set allenai/winogrande is not in the cache", "HF_HUB_OFFLINE"]),
        ({}, ["--backend", "vllm"], ["vllm is not installed"]),
        (
            {"gen": ["demo_arithmetic"]},
            ["--set", "evaluation.max_length=257"],
            ["evaluation.max_length: 257 is more than"],
        ),
        (
            {"gen": ["demo_solution"]},
            ["--set", "evaluation.max_length=8"],
            ["'demo_solution'", "up to 34 tokens (max_gen_toks)", "of 8 tokens"],
        ),
        ({"mc": ["no_such_task"]}, [], ["task 'no_such_task' is unknown"]),
    ],
    ids=lambda value: next(iter(value.values()))[0] if isinstance(value, dict) and value else None,
)
def test_what_a_suite_lacks(ream, model, params, monkeypatch, suite, more, words):  # noqa: F811
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(
        "ream.evaluation.tasks._everything", lambda: type("None", (), {"task_index": {}, "all_tasks": []})
    )
    include = ["--set", f"evaluation.include={tiny.ROOT / 'data' / 'tasks'}"]
    one_line(ream("evaluate", model, "--params", params, *settings(**suite), *include, *more), *words)


@pytest.mark.usefixtures("unloaded")
def test_a_chat_template_that_cannot_be_rendered(ream, model, params, tmp_path):  # noqa: F811
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "chat_template.jinja").write_text("{{ messages[0].content + 1 }}")
    suite = settings(gen=["demo_arithmetic"], chat_template=["demo_arithmetic"])
    include = ["--set", f"evaluation.include={tiny.ROOT / 'data' / 'tasks'}"]
    words = "the chat template of the model's tokenizer cannot be used", "remove demo_arithmetic from"
    one_line(ream("evaluate", broken, "--params", params, *suite, *include), *words)


def test_no_room_for_the_output_of_apply(ream, model, params, tmp_path, monkeypatch):  # noqa: F811
    assert ream(*compress(model, "out", params, "--method", "reap"))[0] == 0
    size = sum(path.stat().st_size for path in (tmp_path / "out").glob("model*.safetensors"))
    monkeypatch.setattr(room, "free_disk", lambda _: 1000)
    one_line(
        ream("apply", model, "out/ream/recipe.ream", "again"),
        " kB of disk is needed for the compressed",
    )
    assert not (tmp_path / "again").exists()
    monkeypatch.setattr(room, "free_disk", lambda _: size)
    assert ream("apply", model, "out/ream/recipe.ream", "again")[0] == 0
