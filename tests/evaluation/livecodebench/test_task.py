"""The task as shipped, run by the harness and lm-eval on as many small problems as the release has."""

import math
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

import huggingface_hub
import pytest
import yaml

from ream import params
from ream.errors import UserError
from ream.evaluation import livecodebench, pinned, settings
from ream.evaluation.harness import Harness
from ream.evaluation.livecodebench import sandbox, scoring
from ream.evaluation.livecodebench.prompt import text
from ream.evaluation.livecodebench.sandbox import Limits
from tests.evaluation.livecodebench.problem_rows import method_row, right_answer, stdin_row, write
from tests.evaluation.test_harness import Lookup
from tests.tiny import ROOT

NAME = "livecodebench_v6"
TASK = ROOT / "ream" / "evaluation" / "livecodebench" / f"{NAME}.yaml"
SUITE = params.Suite(gen=[NAME], limit=6)
SYSTEM = (  # PromptConstants.SYSTEM_MESSAGE_GENERIC of lcb_runner/prompts/code_generation.py
    "You are an expert Python programmer. You will be given a question (problem specification) and will generate a "
    "correct Python program that matches the specification and passes all tests. You will NOT return anything "
    "except for the program."
)


@pytest.fixture
def allowed(evaluation):
    return evaluation.model_copy(update={"allow_code_execution": True})


def release():
    """The task's dataset_kwargs, read as plain YAML."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: node.value)
    return yaml.load(TASK.read_text(), Loader)["dataset_kwargs"]


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """The release's files with small problems, every other one in the style of LeetCode, and the problems."""
    folder = tmp_path_factory.mktemp("livecodebench")
    number, rows = 0, []
    for name, count in release()["problems"].items():
        made = [(method_row if n % 2 else stdin_row)(n) for n in range(number, number + count)]
        write(folder / name, made)
        number += count
        rows += made
    return folder, rows


@pytest.fixture
def hub(problems, monkeypatch):
    """A hub client that finds the files on this machine; gives the list of its requests."""
    folder, _ = problems
    asked = []

    def download(repo_id, filename, *, repo_type, revision):
        asked.append((repo_id, filename, repo_type, revision))
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


class Solver(Lookup):
    """An LM that answers each problem by its text and records the prompts."""

    def __init__(self, answers):
        super().__init__()
        self.answers, self.prompts = answers, []

    def generate_until(self, requests):
        self.prompts += [request.args[0] for request in requests]
        self.kwargs = requests[0].args[1]
        return [
            next((answer for question, answer in self.answers.items() if question in request.args[0]), "I can't.")
            for request in requests
        ]


def test_release_v6_is_six_files_of_1055_problems_of_a_pinned_revision(problems, hub, evaluation, use, allowed):
    known = release()
    assert known["release"] == "release_v6"
    # The releases grow by a file each (README of LiveCodeBench): 400, 511, 612, 713, 880 and 1055 problems.
    sizes, totals = list(known["problems"].values()), [400, 511, 612, 713, 880, 1055]
    assert [sum(sizes[: n + 1]) for n in range(6)] == totals
    assert list(known["problems"]) == ["test.jsonl", *(f"test{n}.jsonl" for n in range(2, 7))]
    use(Solver({}))
    result = Harness(SUITE, allowed, None).score(None, None, None)
    assert result["tasks"][NAME]["items"] == 6
    dataset, revision = "livecodebench/code_generation_lite", "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
    assert hub == [(dataset, name, "dataset", revision) for name in known["problems"]]


def test_pass_at_1_is_the_share_of_problems_solved_with_its_standard_error(problems, hub, use, allowed):
    _, rows = problems
    wrong = "```python\nprint(0)\n```"
    answers = {text(row): right_answer(row) for row in rows[:3]} | {text(rows[3]): wrong, text(rows[4]): wrong}
    lm = use(Solver(answers))
    result = Harness(SUITE, allowed, None).score(None, None, None)
    score = result["tasks"][NAME]
    # 3 of 6 right: with the sample's standard deviation sqrt(0.25 / 5)
    assert (score["value"], score["items"], score["num_fewshot"], score["metric"]) == (50, 6, 0, "pass@1,execute")
    assert score["stderr"] == pytest.approx(100 * math.sqrt(0.25 / 5))
    assert result["gen"] == 50
    assert lm.prompts == [f"{SYSTEM}{text(row)}" for row in rows[:6]]
    assert lm.kwargs["max_gen_toks"] == 16384
    assert lm.kwargs["do_sample"] is False


def test_verdicts_say_why(problems, monkeypatch):
    folder, rows = problems
    docs = [
        {"file": str(folder / "test.jsonl"), "offset": 0, "question_id": rows[0]["question_id"], "function": ""}
    ] * 4
    answers = [right_answer(rows[0]), "```python\nprint(0)\n```", "```python\n1 / 0\n```", "no program"]
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    verdicts = scoring.execute([[answer] for answer in answers], docs)
    assert verdicts == [["passed"], ["wrong answer"], ["error"], ["no code"]]
    assert scoring.execute([answers, []], docs[:2]) == [["passed", "wrong answer", "error", "no code"], []]
    assert scoring.pass_at_1({}, [["passed", "error", "passed", "no code"]]) == {"pass@1": 0.5}


def test_nothing_is_executed_unless_that_is_allowed(problems, hub, evaluation, use, monkeypatch):
    monkeypatch.setattr(scoring, "Program", lambda *_: pytest.fail("a program was started"))
    with pytest.raises(UserError, match=r"'livecodebench_v6' executes code .* evaluation\.allow_code_execution: true"):
        Harness(SUITE, evaluation, None)
    assert not hub
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    with pytest.raises(UserError, match=r"executes code that the model writes; set evaluation\.allow_code_execution"):
        scoring.execute([["```\nprint(1)\n```"]], [{}])


def test_a_machine_that_can_run_no_program_is_refused_before_anything_is_fetched(hub, use, allowed, monkeypatch):
    lm = use(Solver({}))
    monkeypatch.setattr(sandbox, "Limits", lambda: Limits(memory=1 << 20))  # too little for any interpreter
    with pytest.raises(UserError, match="cannot be executed on this machine: a one-line program ends in 'error'"):
        Harness(SUITE, allowed, None).score(None, None, None)
    assert (hub, lm.prompts) == ([], [])


def test_the_chat_template_gets_a_system_and_a_user_message(problems, hub, use, allowed):
    class Chatting(Solver):
        tokenizer_name = "chatting"
        seen: ClassVar[list] = []

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            self.seen.append(chat_history)
            return chat_history[-1]["content"]

    _, rows = problems
    lm = use(Chatting({text(rows[0]): right_answer(rows[0])}))
    suite = params.Suite(gen=[NAME], chat_template=[NAME], limit=1)
    assert Harness(suite, allowed, None).score(None, None, None)["gen"] == 100
    system, user = lm.seen[-1]
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"] == SYSTEM
    assert user["content"] == text(rows[0])


def test_a_real_model_is_asked_and_what_it_writes_is_judged(problems, hub, allowed, model, tokenizer, monkeypatch):
    short = replace(pinned.PINNED[NAME], generation=pinned.PINNED[NAME].generation | {"max_gen_toks": 8})
    monkeypatch.setattr(settings, "PINNED", MappingProxyType({**pinned.PINNED, NAME: short}))
    judge, verdicts = scoring._judged, []

    def watched(*job):
        verdicts.append(judge(*job))
        return verdicts[-1]

    monkeypatch.setattr(scoring, "_judged", watched)
    result = Harness(SUITE.model_copy(update={"limit": 2}), allowed, None).score(model, tokenizer, None)
    assert result["tasks"][NAME]["value"] == 0
    assert verdicts == ["no code", "no code"]  # random letters


def test_settings_change_with_the_tasks_files(allowed, tmp_path, monkeypatch):
    before = settings.task_settings(NAME, SUITE, allowed)["items"]
    assert len(before) == 64
    copy = tmp_path / "livecodebench"
    copy.mkdir()
    for path in TASK.parent.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    moved = MappingProxyType({NAME: replace(pinned.PINNED[NAME], folder=str(copy))})
    monkeypatch.setattr(settings, "PINNED", moved)
    assert settings.task_settings(NAME, SUITE, allowed)["items"] == before
    (copy / "checker.py").write_text("changed")
    assert settings.task_settings(NAME, SUITE, allowed)["items"] != before
    assert settings.task_settings("gsm8k", params.Suite(gen=["gsm8k"]), allowed)["items"] is None


def test_the_wheel_has_the_task():
    import tomllib

    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert any(TASK.match(pattern) for pattern in data["ream.evaluation.livecodebench"])
    assert livecodebench.__file__ == str(TASK.parent / "__init__.py")
