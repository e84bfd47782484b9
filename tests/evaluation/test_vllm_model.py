"""lm-eval's vLLM backend as ream uses it, with a stand-in for the package vllm, which is not installed."""

import importlib.metadata
import sys
import types

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import model_registry

from ream.evaluation.answers import Generated

MODULES = ("vllm", "vllm.lora", "vllm.lora.request", "vllm.renderers", "vllm.renderers.hf", "vllm.tokenizers")


class Parameters:
    """SamplingParams."""

    def __init__(self, max_tokens, stop=(), **options):
        self.max_tokens, self.stop, self.options = max_tokens, stop, options


class Engine:
    """vLLM's LLM: answers every prompt with the same text, as far as the limit allows; a token is a byte."""

    def __init__(self, text):
        self.text, self.asked = text, []

    def generate(self, prompts, sampling_params, **_):
        self.asked += zip(prompts, sampling_params, strict=True)
        return [self.output(parameters) for parameters in sampling_params]

    def output(self, parameters):
        ends = [self.text.index(stop) for stop in parameters.stop if stop and stop in self.text]
        text = self.text[: min(ends, default=len(self.text))]
        cut = len(text) > parameters.max_tokens
        text = text[: parameters.max_tokens]
        answer = types.SimpleNamespace(text=text, token_ids=list(text), finish_reason="length" if cut else "stop")
        return types.SimpleNamespace(outputs=[answer])


@pytest.fixture
def vllm(monkeypatch, tokenizer):
    """A function that makes the backend of an engine; vLLM's own set-up is left out."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    package = sys.modules["vllm"]
    vars(package).update(LLM=Engine, SamplingParams=Parameters, TokensPrompt=lambda prompt_token_ids: prompt_token_ids)
    sys.modules["vllm.lora.request"].LoRARequest = object
    sys.modules["vllm.renderers.hf"].resolve_chat_template = sys.modules["vllm.tokenizers"].get_tokenizer = None
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.20" if name == "vllm" else version(name))
    for name in ("lm_eval.models.vllm_causallms", "ream.evaluation.vllm_model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(model_registry._objs, "vllm", "lm_eval.models.vllm_causallms:VLLM")  # as before any import
    from lm_eval.models.vllm_causallms import VLLM

    from ream.evaluation.vllm_model import RecordingVLLM

    def started(self, text, max_length, think_end_token=None):
        super(VLLM, self).__init__()
        self.tokenizer, self.model, self._max_length, self.batch_size = tokenizer, Engine(text), max_length, 4
        self.think_end_token, self.truncation_side, self.data_parallel_size = think_end_token, "left", 1
        self.custom_prefix_token_id = None
        self.lora_request, self.add_bos_token, self._max_gen_toks, self.enable_thinking = None, None, 256, True

    monkeypatch.setattr(VLLM, "__init__", started)
    yield RecordingVLLM
    for name in ("lm_eval.models.vllm_causallms", "ream.evaluation.vllm_model"):
        sys.modules.pop(name, None)


def asked(prompt, limit, *until):
    return Instance("generate_until", {}, (prompt, {"until": list(until), "max_gen_toks": limit}), 0)


def test_length_and_end_of_answers_and_truncated_prompts_are_recorded(vllm):
    lm = vllm("abcdefgh", 20)
    requests = [asked("short", 4), asked("x" * 12, 8, "ef"), asked("y" * 13, 8)]
    assert lm.generate_until(requests) == ["abcd", "abcd", "abcdefgh"]
    taken = [lm.recorder.take(*pair) for pair in (("short", "abcd"), ("x" * 12, "abcd"), ("y" * 13, "abcdefgh"))]
    assert taken == [Generated(4, True), Generated(4, False), Generated(8, False)]
    assert [lm.recorder.truncated(request.args) for request in requests] == [False, False, True]  # 12 + 8 fit in 20


def test_thinking_is_taken_off_and_known(vllm):
    lm = vllm("hm\n\n</think>4\n\n5", 64, "</think>")
    request = asked("Q<think>", 30, "\n\n")
    assert lm.generate_until([request]) == ["4"]
    assert lm.recorder.take("Q<think>", "4") == Generated(16, False, True)


def test_choices_that_do_not_fit_are_recorded_and_not_refused_where_answers_think(vllm, monkeypatch):
    lm = vllm("", 10)
    monkeypatch.setattr(vllm.__base__, "_loglikelihood_tokens", lambda self, requests, *_: [(-1.0, False)] * 2)
    requests = [Instance("loglikelihood", {}, (context, "b"), 0) for context in ("x" * 8, "x" * 9)]
    assert lm.loglikelihood(requests) == [(-1.0, False)] * 2
    assert [lm.recorder.truncated(request.args) for request in requests] == [False, True]  # vLLM wants one token more


GLM = "{{ messages[0].content }}{{ '/nothink' if (enable_thinking is defined and not enable_thinking) }}"


@pytest.mark.parametrize(("given", "prompt"), [({}, "Hi"), ({"enable_thinking": False}, "Hi/nothink"),
                                               ({"enable_thinking": True}, "Hi")])  # fmt: skip
def test_a_chat_template_gets_the_variables_that_were_given_and_no_others(vllm, tokenizer, monkeypatch, given, prompt):
    """lm-eval would give GLM-4.5's template enable_thinking=None, and would lose the suite's own."""
    monkeypatch.setattr(tokenizer, "chat_template", GLM, raising=False)
    started = vllm.__base__.__init__
    monkeypatch.setattr(vllm.__base__, "__init__", lambda self, **_: started(self, "", 20))
    lm = vllm(chat_template_args=dict(given))
    lm.hf_chat_template = None
    assert lm.apply_chat_template([{"role": "user", "content": "Hi"}]) == prompt
