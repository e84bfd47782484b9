import sys

import pytest

from ream.errors import UserError
from ream.evaluation.code_eval import CodeEval, own_metrics, passes
from ream.evaluation.livecodebench.sandbox import Limits
from ream.evaluation.livecodebench.scoring import ALLOWED
from ream.evaluation.tasks import find_tasks, load_task

RIGHT, WRONG = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a * b"
TEST = "assert add(2, 3) == 5"


@pytest.mark.parametrize(
    ("program", "passed"),
    [
        (RIGHT, True),
        (WRONG, False),
        ("def add(a, b:", False),
        ("class Solution:\n    pass\n" + RIGHT, True),
        ("exit()", False),  # what ends early has passed no test
        ("import os\nos._exit(0)", False),
        ("def add(a, b):\n    return math.floor(a + b)", False),  # nothing is imported for it
        ("from math import *\ndef add(a, b):\n    return floor(a + b)", True),
        ("def add(a, b):\n    return add(a, b)", False),
        ("def add(a, b):\n    return a if b == 0 else add(a + 1, b - 1)\nadd(0, 2000)", False),  # the usual depth
        ("print('true')\n" + RIGHT, True),
        ("print('true')\n" + WRONG, False),
        ("if __name__ == '__main__':\n    raise ValueError\n" + RIGHT, True),
        ("# \ud83d\n" + RIGHT, True),
    ],
)
def test_a_program_passes_that_runs_to_its_end(program, passed):
    assert passes(f"{program}\n{TEST}") == passed


def test_a_program_that_does_not_end_fails():
    assert not passes("while True: pass", Limits(seconds=0.5))


def test_pass_at_k_is_the_estimator_by_hand(monkeypatch):
    monkeypatch.setenv(ALLOWED, "1")
    programs = [[RIGHT, WRONG, WRONG], [WRONG, RIGHT, RIGHT]]
    values, results = CodeEval().compute([TEST, TEST], programs, k=[1, 2, 4])
    # c = 1 and 2 of 3: k = 1: 1/3 and 2/3; k = 2: 1 - C(2,2)/C(3,2) = 2/3 and 1 - C(1,2)/C(3,2) = 1
    assert values == pytest.approx({"pass@1": 1 / 2, "pass@2": 5 / 6})
    assert [of["passed"] for _, of in results[1]] == [False, True, True]


def test_nothing_runs_without_leave(monkeypatch):
    monkeypatch.delenv(ALLOWED, raising=False)
    with pytest.raises(UserError, match=r"evaluation\.allow_code_execution"):
        CodeEval().compute([TEST], [[RIGHT]])


@pytest.mark.parametrize("name", ["humaneval", pytest.param("mbpp", marks=pytest.mark.slow)])
def test_a_folder_code_eval_is_never_executed(tmp_path, monkeypatch, name):
    """A stranger's folder in the working directory, by both of the names that the package evaluate looks for."""
    import datasets

    row = {
        "task_id": 1,
        "prompt": "def f():\n",
        "test": "",
        "entry_point": "f",
        "text": "",
        "code": "",
        "test_list": ["assert True"] * 3,
    }
    rows = datasets.Dataset.from_list([row])
    splits = datasets.DatasetDict(dict.fromkeys(("test", "prompt", "train", "validation"), rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: splits)
    monkeypatch.setenv(ALLOWED, "1")
    monkeypatch.chdir(tmp_path)
    harm = f"open({str(tmp_path / 'harmed')!r}, 'w')\n"
    (tmp_path / "code_eval").mkdir()
    for file in ("code_eval.py", "__init__.py"):
        (tmp_path / "code_eval" / file).write_text(harm)
    (tmp_path / "code_eval.py").write_text(harm)
    load_task(name, find_tasks([name], tmp_path / "none", None)[name])
    assert not (tmp_path / "harmed").exists()


def test_another_metric_is_refused_where_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bleu").mkdir()
    (tmp_path / "bleu" / "bleu.py").write_text(f"open({str(tmp_path / 'harmed')!r}, 'w')\n")
    with own_metrics():
        import evaluate

        with pytest.raises(UserError, match=r"metric 'bleu': .* would execute .*/bleu in its place; rename that"):
            evaluate.load("bleu")
    assert not (tmp_path / "harmed").exists()


def test_afterwards_the_package_is_itself():
    before = sys.modules.pop("evaluate", None)
    try:
        with own_metrics():
            import evaluate

            assert isinstance(evaluate.load("code_eval"), CodeEval)
        assert "evaluate" not in sys.modules
        with own_metrics():
            from evaluate import EvaluationModule  # of the real package

        assert sys.modules["evaluate"].EvaluationModule is EvaluationModule
        assert sys.modules["evaluate"].__name__ == "evaluate"
        assert sys.modules["evaluate"].__file__
    finally:
        if before is not None:
            sys.modules["evaluate"] = before
