import json
import os
import re
from typing import ClassVar

import lm_eval.api.model
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from ream import params
from ream.errors import UserError
from ream.evaluation import demo_scoring, harness
from ream.evaluation.harness import Harness
from ream.evaluation.headline import headline
from ream.evaluation.prepared import answer_tokens
from ream.evaluation.settings import check_chat
from ream.evaluation.store import ResultStore

NUMBERS = params.Suite(mc=["demo_result"], gen=["demo_arithmetic", "demo_solution"])


def evaluate_model(model, tokenizer, suite, evaluation, items, progress):
    """Scores of one model."""
    return Harness(suite, evaluation, items).score(model, tokenizer, progress)


class Lookup(lm_eval.api.model.LM):
    """An LM that answers from a table, and with an empty text to other prompts."""

    def __init__(self, generated=None, likelihood=None):
        super().__init__()
        self.generated, self.likelihood, self.asked = generated or {}, likelihood, 0

    def loglikelihood(self, requests):
        self.asked += len(requests)
        return [(self.likelihood(*request.args), False) for request in requests]

    def generate_until(self, requests):
        self.asked += len(requests)
        return [self.generated.get(request.args[0], "") for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


def rows(folder, task):
    return [json.loads(line) for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_model_that_knows_all_scores_100_and_one_that_knows_nothing_0(number_items, evaluation, use):
    suite = params.Suite(gen=["demo_arithmetic", "demo_solution"])
    known = {row["context"]: f" {row['answer']}.\nAnswer: x" for row in rows(number_items, "demo_arithmetic")}
    known |= {row["context"]: f" So be it.\nAnswer: {row['answer']}" for row in rows(number_items, "demo_solution")}
    use(Lookup(known))
    perfect = evaluate_model(None, None, suite, evaluation, number_items, None)
    assert [perfect["tasks"][task]["value"] for task in suite.gen] == [100, 100]
    assert (perfect["mc"], perfect["gen"], perfect["avg"]) == (None, 100, None)
    assert perfect["tasks"]["demo_solution"]["metric"] == "exact_match,none"
    use(Lookup())
    assert evaluate_model(None, None, suite, evaluation, number_items, None)["gen"] == 0


def test_means_over_the_suite(number_items, evaluation, use):
    # the MC task right in all cases, one GEN task in half of its items, the other in none: MC 100, GEN 25, AVG 62.5
    half = rows(number_items, "demo_arithmetic")[::2]
    right = {(row["context"], row["choices"][row["label"]]) for row in rows(number_items, "demo_result")}
    table = {row["context"]: f" {row['answer']}." for row in half}
    use(Lookup(table, likelihood=lambda *pair: 0.0 if pair in right else -1.0))
    result = evaluate_model(None, None, NUMBERS, evaluation, number_items, None)
    assert (result["mc"], result["gen"], result["avg"]) == (100, 25, 62.5)
    assert result["tasks"]["demo_arithmetic"]["items"] == 40
    assert result["tasks"]["demo_arithmetic"]["stderr"] == pytest.approx(100 * (0.25 / 39) ** 0.5)


@pytest.mark.parametrize(("place", "right"), [(0, 12), (1, 9), (2, 13), (3, 14)])
def test_a_model_that_always_takes_one_place_is_right_where_the_answer_stands_there(
    number_items, evaluation, use, place, right
):
    items = rows(number_items, "demo_result")
    assert (len(items), sum(row["label"] == place for row in items)) == (48, right)
    taken = {(row["context"], row["choices"][place]) for row in items}
    use(Lookup(likelihood=lambda *pair: 0.0 if pair in taken else -1.0))
    suite = params.Suite(mc=["demo_result"])
    assert evaluate_model(None, None, suite, evaluation, number_items, None)["mc"] == 100 * right / 48


def test_of_choices_that_are_alike_the_first_is_taken(number_items, evaluation, use):
    # the right one is the first in 12 of 48 items
    use(Lookup(likelihood=lambda context, continuation: -float(len(continuation))))
    suite = params.Suite(mc=["demo_result"])
    result = evaluate_model(None, None, suite, evaluation, number_items, None)
    assert result["mc"] == 25
    assert result["tasks"]["demo_result"]["stderr"] == pytest.approx(100 * (0.25 * 0.75 / 47) ** 0.5)


def test_a_multiple_choice_score_is_that_of_a_plain_loop(model, tokenizer, evaluation, choice_items):
    folder, questions = choice_items
    right = 0
    for row in questions:
        scores = []
        for choice in row["choices"]:
            context, whole = tokenizer.encode(row["context"]), tokenizer.encode(row["context"] + choice)
            with torch.no_grad():
                logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
            scores.append(sum(logits[i - 1, whole[i]].item() for i in range(len(context), len(whole))))
        right += scores.index(max(scores)) == row["label"]
    result = evaluate_model(model, tokenizer, params.Suite(mc=["demo_prose"]), evaluation, folder, None)
    assert 0 < right < len(questions)
    assert result["tasks"]["demo_prose"]["value"] == pytest.approx(100 * right / len(questions))
    assert result["tasks"]["demo_prose"]["items"] == len(questions)


def test_generation_is_that_of_a_plain_greedy_loop(model, tokenizer, evaluation, number_items, monkeypatch):
    scored = []

    def number(row, results):
        scored.append((row["context"], results[0]))
        return {"exact_match": float(len(scored) % 2)}

    monkeypatch.setattr(demo_scoring, "number", number)
    suite = params.Suite(gen=["demo_arithmetic"], limit=5)
    result = evaluate_model(model, tokenizer, suite, evaluation, number_items, None)
    expected = []
    for row in rows(number_items, "demo_arithmetic")[:5]:
        ids = torch.tensor([tokenizer.encode(row["context"])])
        for _ in range(6):  # the task's max_gen_toks
            with torch.no_grad():
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
        written = tokenizer.decode(ids[0, len(tokenizer.encode(row["context"])) :])
        expected.append((row["context"], written.split("<end>")[0].split("\n")[0]))
    assert scored == expected
    assert len({written for _, written in scored}) > 1
    assert (result["tasks"]["demo_arithmetic"]["items"], result["gen"]) == (5, 60)


def test_a_task_finished_before_a_kill_is_not_run_again(number_items, evaluation, use, tmp_path):
    store = ResultStore(tmp_path, "model")

    class Killed(Lookup):
        def generate_until(self, requests):
            if self.asked:  # the second generative task
                raise KeyboardInterrupt
            return super().generate_until(requests)

    use(Killed())
    suite = params.Suite(gen=NUMBERS.gen)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(None, None, suite, evaluation, number_items, store)
    lm = use(Lookup())
    first = evaluate_model(None, None, suite, evaluation, number_items, store)
    assert lm.asked == len(rows(number_items, "demo_solution"))
    lm = use(Lookup())
    assert evaluate_model(None, None, suite, evaluation, number_items, store) == first
    assert lm.asked == 0
    evaluate_model(None, None, suite.model_copy(update={"limit": 3}), evaluation, number_items, store)
    assert lm.asked == 6


def test_tasks_that_run_code_need_leave(evaluation, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    suite = params.Suite(gen=["humaneval"])
    with pytest.raises(UserError, match=r"evaluation\.allow_code_execution"):
        evaluate_model(None, None, suite, evaluation, None, None)
    seen = []

    def loaded(*_):
        seen.append(os.environ.get("HF_ALLOW_CODE_EVAL"))
        return {"tasks": {}}

    monkeypatch.setattr(harness, "prepared", loaded)
    monkeypatch.setattr(harness, "language_model", lambda *_: None)
    monkeypatch.setattr(harness, "run_task", lambda *_: ({"value": 1.0}, []))
    allowed = evaluation.model_copy(update={"allow_code_execution": True})
    evaluate_model(None, None, suite, allowed, None, None)
    evaluate_model(None, None, params.Suite(gen=["gsm8k"]), evaluation, None, None)
    assert seen == ["1", None]
    assert "HF_ALLOW_CODE_EVAL" not in os.environ


def test_vllm_has_to_be_installed(evaluation):
    with pytest.raises(UserError, match="pip install vllm"):
        Harness(NUMBERS, evaluation.model_copy(update={"backend": "vllm"}), None)


def test_several_models_share_the_tasks_and_their_encodings(number_items, evaluation, model, tokenizer, monkeypatch):
    suite = params.Suite(mc=["demo_result"], gen=["demo_arithmetic"], num_fewshot={"demo_result": 2}, limit=4)
    once = evaluate_model(model, tokenizer, suite, evaluation, number_items, None)
    shared = Harness(suite, evaluation, number_items)
    assert shared.score(model, tokenizer, None) == once
    monkeypatch.setattr(HFLM, "tok_encode", lambda *_, **__: pytest.fail("encoded again"))
    assert shared.score(model, tokenizer, None) == once


def test_a_task_is_put_through_the_chat_template(number_items, evaluation, use):
    class Chatting(Lookup):
        tokenizer_name = "chatting"
        prompts: ClassVar[list[str]] = []

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return "".join(f"<{turn['role']}>{turn['content']}" for turn in chat_history) + "<assistant>"

        def generate_until(self, requests):
            self.prompts.extend(request.args[0] for request in requests)
            return super().generate_until(requests)

    lm = use(Chatting())
    suite = params.Suite(gen=["demo_arithmetic", "demo_solution"], chat_template=["demo_arithmetic"], limit=2)
    result = evaluate_model(None, None, suite, evaluation, number_items, None)
    contexts = [row["context"] for row in rows(number_items, "demo_arithmetic")[:2]]
    assert lm.prompts[:2] == [f"<user>{context}<assistant>" for context in contexts]
    assert lm.prompts[2:] == [row["context"] for row in rows(number_items, "demo_solution")[:2]]
    assert [result["tasks"][task]["settings"]["chat_template"] for task in suite.gen] == [True, False]


def test_a_tokenizer_without_a_chat_template_is_refused(number_items, evaluation, model, tokenizer):
    suite = params.Suite(gen=["demo_arithmetic"], chat_template=["demo_arithmetic"])
    with pytest.raises(UserError, match="no chat template, but the suite needs one for demo_arithmetic"):
        evaluate_model(model, tokenizer, suite, evaluation, number_items, None)


def test_an_unknown_metric_is_refused_before_the_model_runs(number_items, evaluation, use):
    lm = use(Lookup())
    suite = params.Suite(mc=["demo_result"], metric={"demo_result": "f1"})
    with pytest.raises(UserError, match="metric 'f1' of task 'demo_result' is unknown; it has: acc"):
        evaluate_model(None, None, suite, evaluation, number_items, None)
    assert lm.asked == 0


METRICS = {
    "alias": "t",
    "em,strict": 0.25,
    "em_stderr,strict": 0.1,
    "em,loose": 0.5,
    "em_stderr,loose": "N/A",
    "ppl,loose": 9.0,
}


@pytest.mark.parametrize(
    ("metric", "chosen", "expected"),
    [
        (None, None, (0.25, 0.1, "em,strict")),
        ("em", None, (0.25, 0.1, "em,strict")),
        ("em", "loose", (0.5, None, "em,loose")),
    ],
)
def test_the_headline_is_of_the_metric_and_filter(metric, chosen, expected):
    assert headline("t", METRICS, metric, chosen) == expected


def test_a_headline_is_a_share():
    with pytest.raises(UserError, match=r"'ppl,loose' of task 't' is 9\.0, not between 0 and 1"):
        headline("t", METRICS, "ppl", None)
    with pytest.raises(UserError, match="'acc,none' of task 't' is unknown; it has: em,strict"):
        headline("t", METRICS, "acc", "none")


def test_tasks_are_loaded_before_a_model_runs_and_answers_must_fit(number_items, evaluation, tmp_path):
    suite = params.Suite(gen=["demo_arithmetic", "demo_solution"])
    tasks = Harness(suite, evaluation, number_items)
    tasks.load(None)
    assert sorted(tasks._loaded) == suite.gen
    (task,) = tasks._loaded["demo_arithmetic"]["tasks"].values()
    longest = answer_tokens(task)
    assert longest == task.config.generation_kwargs["max_gen_toks"]
    with pytest.raises(UserError, match=rf"^task 'demo_arithmetic' lets the model write up to {longest} tokens"):
        tasks.load(None, positions=longest)
    tasks.load(None, positions=10_000)


def test_finished_tasks_are_not_loaded(number_items, evaluation, tmp_path, use):
    store = ResultStore(tmp_path, "m")
    use(Lookup())
    suite = params.Suite(gen=["demo_arithmetic"])
    evaluate_model(None, None, suite, evaluation, number_items, store)
    again = Harness(suite, evaluation, number_items)
    again.load(store)
    assert again._loaded == {}


class Template:
    """A tokenizer with a chat template."""

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, messages, **_):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        return ImmutableSandboxedEnvironment().from_string(self.chat_template).render(messages=messages)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.content }}", "Unexpected end of template"),
        ("{{ 1 // 0 }}", "integer division or modulo by zero"),
        ("{{ messages[0].content + 1 }}", "can only concatenate str"),
        ("{{ messages[0].parts.text }}", "has no attribute 'parts'"),
        ("{{ ''.__class__.__mro__[1] }}", "access to attribute '__class__'"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "maximum recursion depth exceeded"),
    ],
)
def test_a_chat_template_is_tried_before_a_model_runs(template, reason):
    with pytest.raises(UserError, match=rf"cannot be used: .*{re.escape(reason)}.*; correct it, or remove ifeval from"):
        check_chat(Template(template), ["ifeval"])
    check_chat(Template(template), [])
    check_chat(Template("{{ messages[0].content }}"), ["ifeval"])
