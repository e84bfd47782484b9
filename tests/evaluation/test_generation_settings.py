"""suites.*.generation, chat_template_args and think_end_token reach the model."""

import pytest
import torch

from ream import params
from ream.errors import UserError
from ream.evaluation.harness import Harness
from ream.evaluation.settings import check_chat
from ream.evaluation.shared_context import SharedContextLM
from ream.evaluation.store import ResultStore
from tests.evaluation.test_answers import stored

TEMPLATE = "{{ messages[0].content }}{% if enable_thinking %}<think>{% endif %}"


def test_the_length_of_an_answer_is_the_suites(number_items, evaluation, model, tokenizer, tmp_path):
    suite = params.Suite(gen=["demo_solution"], limit=4, generation={"demo_solution": {"max_gen_toks": 3}})
    Harness(suite, evaluation, number_items).score(model, tokenizer, ResultStore(tmp_path, "m"))
    assert max(answer["tokens"] for answer in stored(tmp_path, "demo_solution")) == 3


def test_an_answer_longer_than_the_context_is_refused_as_pinned_ones_are(number_items, evaluation):
    suite = params.Suite(gen=["demo_solution"], generation={"demo_solution": {"max_gen_toks": 512}})
    with pytest.raises(UserError, match="task 'demo_solution' lets the model write up to 512 tokens"):
        Harness(suite, evaluation, number_items).load(None, positions=512)


def test_sampling_is_asked_for_and_repeats_by_the_seed(number_items, evaluation, model, tokenizer, tmp_path):
    sampled = {"demo_solution": {"temperature": 2.0, "top_k": 50}}
    suite = params.Suite(gen=["demo_solution"], limit=4, generation=sampled)
    texts = []
    for place, seed in enumerate((0, 0, 1)):
        options = evaluation.model_copy(update={"seed": seed})
        store = ResultStore(tmp_path / str(place), "m")
        Harness(suite, options, number_items).score(model, tokenizer, store)
        texts.append([answer["answer"] for answer in stored(tmp_path / str(place), "demo_solution")])
    assert texts[0] == texts[1] != texts[2]


def test_variables_of_the_chat_template_reach_the_prompt(model, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE)
    for thinking, prompt in ((True, "Hi<think>"), (False, "Hi")):
        lm = SharedContextLM(model, tokenizer, 1, None, chat={"chat_template_args": {"enable_thinking": thinking}})
        assert lm.apply_chat_template([{"role": "user", "content": "Hi"}]) == prompt
    check_chat(tokenizer, ["t"], {"enable_thinking": True})
    with pytest.raises(UserError, match="the model's chat template does not read 'thinking'; leave it out"):
        check_chat(tokenizer, ["t"], {"thinking": True})


def test_stops_of_the_task_do_not_end_thinking(model, tokenizer, monkeypatch):
    words = "a\n\nb</think> 4\n\nc<end>"
    row = torch.tensor([tokenizer.encode(words)])

    def generate(self, context, max_length, stop, **options):
        assert stop == ["<end>"]
        return torch.cat([context, row], dim=1)

    monkeypatch.setattr(SharedContextLM.__base__, "_model_generate", generate)
    lm = SharedContextLM(model, tokenizer, 1, None, chat={"think_end_token": "</think>"})
    from lm_eval.api.instance import Instance

    asked = Instance("generate_until", {}, ("Q<think>", {"until": ["\n\n"], "max_gen_toks": 40}), 0)
    assert lm.generate_until([asked]) == ["4"]
    generated = lm.recorder.take("Q<think>", "4")
    assert (generated.tokens, generated.cut, generated.thought) == (row.shape[1], False, True)


def test_tasks_of_a_group_and_own_tasks_are_held_against_the_context(evaluation, tmp_path):
    """A group of two own tasks, one of which calls its limit by another name."""
    (tmp_path / "rows.jsonl").write_text('{"q": "1 + 1 =", "a": "2"}\n')
    for name, limit in (("short", "max_gen_toks: 8"), ("long", "max_new_tokens: 600")):
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
            "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
            f"generation_kwargs: {{until: ['.'], {limit}}}\nmetric_list: [{{metric: exact_match}}]\n"
        )
    aggregated = "[{metric: exact_match, aggregation: mean, weight_by_size: true}]"
    (tmp_path / "both.yaml").write_text(f"group: both\ntask: [short, long]\naggregate_metric_list: {aggregated}\n")
    own = evaluation.model_copy(update={"include": str(tmp_path)})
    for task in ("both", "long"):
        with pytest.raises(UserError, match=f"task '{task}' lets the model write up to 600 tokens"):
            Harness(params.Suite(gen=[task]), own, None).load(None, positions=512)
    shorter = params.Suite(gen=["both"], generation={"both": {"max_gen_toks": 16}})
    Harness(shorter, own, None).load(None, positions=512)
