"""A killed `ream evaluate` goes on after the tasks that it has finished, and only where nothing has changed."""

import json
import os

import pytest

from ream.commands.evaluate import score_models
from ream.commands.scoring import ScoreRequest, scoring
from ream.commands.unfinished import unfinished
from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.evaluation import harness
from ream.recipe.recipe_file import save_recipe
from tests.compress.walks import opened as open_checkpoint
from tests.compress.walks import random_recipe
from tests.subsets import some_slow
from tests.tiny import ROOT

TASKS = ["demo_arithmetic", "demo_solution"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.chdir(ROOT)
    return tmp_path


def params_of(model, *more):
    settings = ("suites.demo.mc=[]", f"suites.demo.gen=[{', '.join(TASKS)}]", "suites.demo.loss=[]", *more)
    return scoring(ScoreRequest(model=str(model), suite="demo", limit=3, settings=settings), ROOT / "params.yaml")


@pytest.fixture
def evaluate(place, checkpoint, monkeypatch):
    """A function that scores the tiny model and returns (tasks that ran, lines, warnings); it can be killed."""

    def run(*settings, killed_at=None, out=None):
        ran, lines, warned = [], [], []
        real = harness.run_task

        def counted(lm, name, *rest):
            if name == killed_at:
                raise KeyboardInterrupt
            ran.append(name)
            return real(lm, name, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(harness, "run_task", counted)
            try:
                score_models(params_of(checkpoint, *settings), [None], out, lines.append, warned.append)
            except KeyboardInterrupt as error:
                lines += error.__notes__
        return ran, lines, warned

    return run


def test_the_same_command_goes_on_and_says_so(evaluate, place):
    out = place / "scores.json"
    evaluate(out=out)
    whole, answers = json.loads(out.read_text()), out.with_name("scores.answers.parquet").read_bytes()
    out.unlink()
    ran, lines, _ = evaluate(out=out, killed_at=TASKS[1])
    assert (ran, out.exists()) == ([TASKS[0]], False)
    assert lines[-1] == "what is finished is kept; give the same command again to go on from there"
    ran, lines, _ = evaluate(out=out)
    assert ran == [TASKS[1]]
    assert f"goes on after 1 finished tasks of an earlier run: {TASKS[0]}" in lines
    assert json.loads(out.read_text()) == whole
    assert out.with_name("scores.answers.parquet").read_bytes() == answers
    assert list((place / "caches" / "ream" / "evaluations").iterdir()) == []
    assert evaluate(out=out)[0] == TASKS  # what has ended keeps nothing


@pytest.mark.parametrize(
    "change", some_slow(["setting", "weights", "tokenizer", "task", "code"], keep=["setting", "weights"])
)
def test_nothing_is_reused_where_something_has_changed(evaluate, place, checkpoint, change, monkeypatch):
    if change == "task":
        import shutil

        shutil.copytree(ROOT / "data" / "tasks", place / "tasks")
    include = (f"evaluation.include={place / 'tasks'}",) if change == "task" else ()
    assert evaluate(*include, killed_at=TASKS[1])[0] == [TASKS[0]]
    if change == "setting":
        include = (*include, "evaluation.seed=1")
    elif change in ("weights", "tokenizer"):
        path = next(checkpoint.glob("*.safetensors")) if change == "weights" else checkpoint / "tokenizer.json"
        os.utime(path, ns=(1, 1))
    elif change == "task":
        with (place / "tasks" / f"{TASKS[1]}.yaml").open("a") as file:
            file.write("# another\n")
    else:
        from ream.workspace import codes

        monkeypatch.setattr(codes, "fingerprint_of", lambda *_: {"other": "code"})
    ran, lines, _ = evaluate(*include)
    assert ran == TASKS
    assert not any("goes on" in line for line in lines)


def test_two_of_the_same_at_once_are_refused(place):
    with unfinished("0" * 64), pytest.raises(UserError, match="in use by another run"), unfinished("0" * 64):
        pass


def test_a_failure_before_the_first_task_leaves_nothing(place):
    with pytest.raises(ValueError, match="x"), unfinished("0" * 64):
        raise ValueError("x")
    assert list((place / "caches" / "ream" / "evaluations").iterdir()) == []


@pytest.mark.slow
def test_several_recipes_and_the_original_in_one_file(place, checkpoint, monkeypatch):
    """Of recipes that are scored side by side, and by a backend that scores one after the other."""
    suite = "{mc: [demo_result], loss: [math], loss_sequences: 2, loss_tokens: 32, limit: 3}"

    def wanted(*more):
        settings = (f"suites.mc={suite}", "compute.dtype=float32", *more)
        return scoring(ScoreRequest(model=str(checkpoint), suite="mc", settings=settings), ROOT / "params.yaml")

    opened = open_checkpoint(str(checkpoint))
    recipes = []
    for kept in (4, 6):
        recipe = random_recipe(opened[1], kept, digest=opened[0].digest())
        facts = {**recipe.facts, "mix": "only", "method": "reap", "experts": kept}
        recipes.append(place / f"{kept}.ream")
        save_recipe(recipes[-1], Recipe(recipe.layers, facts))
    cells = {}
    for backend in ("hf", "layers"):
        out, lines = place / f"{backend}.json", []
        params = wanted(f"evaluation.backend={backend}")
        score_models(params, [None, *recipes], out, lines.append, lines.append)
        cells[backend] = json.loads(out.read_text())["cells"]
        assert [path.name for path in sorted(place.glob(f"{backend}.*.parquet"))] == [
            f"{backend}.{number}.answers.parquet" for number in range(3)
        ]
    assert [(cell["method"], cell["experts"]) for cell in cells["hf"]] == [(None, 8), ("reap", 4), ("reap", 6)]
    for hf, layers in zip(cells["hf"], cells["layers"], strict=True):
        assert layers["mc"] == hf["mc"]
        assert layers["mean_loss"] == pytest.approx(hf["mean_loss"], abs=1e-4)
        assert (layers["parameters"], layers["method"], layers["experts"]) == (
            hf["parameters"], hf["method"], hf["experts"]
        )  # fmt: skip
    assert len({cell["mean_loss"] for cell in cells["hf"]}) == 3
    with pytest.raises(UserError, match="is given twice"):
        score_models(params, [recipes[0], recipes[0]], None, lines.append, lines.append)
    served = ("evaluation.endpoint={base_url: 'http://127.0.0.1:9/v1', model: m}", "evaluation.backend=endpoint")
    with pytest.raises(
        UserError, match=r"--recipe .* is a recipe and no checkpoint, which evaluation\.backend: endpoint"
    ):
        score_models(wanted(*served), recipes[:1], None, lines.append, lines.append)
