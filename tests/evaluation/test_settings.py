"""Settings of tasks, and chat templates, which are programs of whoever made the model."""

import sys
import types

import pytest

from ream import params
from ream.errors import UserError
from ream.evaluation import settings
from ream.evaluation.lm_eval_state import seed_language_detection
from ream.evaluation.settings import task_settings


def test_settings_are_the_suites_else_the_pinned(evaluation):
    suite = params.Suite(gen=["gsm8k", "ifeval"], num_fewshot={"gsm8k": 8}, metric={"ifeval": "inst_level_loose_acc"})
    gsm8k, ifeval = (task_settings(name, suite, evaluation) for name in suite.gen)
    assert (gsm8k["metric"], gsm8k["filter"], gsm8k["num_fewshot"]) == ("exact_match", "flexible-extract", 8)
    assert (ifeval["metric"], ifeval["filter"], ifeval["num_fewshot"]) == ("inst_level_loose_acc", None, 0)
    assert ifeval["generation"]["max_gen_toks"] == 1280
    assert task_settings("other", params.Suite(mc=["other"]), evaluation)["metric"] == "acc"
    assert task_settings("other", params.Suite(gen=["other"]), evaluation)["metric"] is None


TEMPLATES = {
    "loops in loops": ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes more"),
    "a loop beyond the sandbox's": ("{% for i in range(10**9) %}{% endfor %}", "cannot be used: OverflowError"),
    "a power": ("{{ 7 ** (7 ** 12) }}", "takes more"),
    "a long text": ("{{ 'x' * 10**11 }}", "cannot be used: it needs more than"),
    "an error of its own": ("{{ raise_exception('no users') }}", "cannot be used: TemplateError: no users"),
    "no template": ("{% for %}", "cannot be used: TemplateSyntaxError"),
    "what the sandbox forbids": ("{{ ''.__class__.__mro__ }}", "cannot be used: SecurityError"),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_chat_templates_that_cannot_be_used(case, tokenizer, monkeypatch):
    monkeypatch.setattr(settings, "CHAT_SECONDS", 0.5)
    template, words = TEMPLATES[case]
    monkeypatch.setattr(tokenizer, "chat_template", template, raising=False)
    with pytest.raises(
        UserError,
        match=f"^the chat template of the model's tokenizer {words}.*remove gsm8k from the suite's chat_template$",
    ):
        settings.check_chat(tokenizer, ["gsm8k"])
    settings.check_chat(tokenizer, [])


def test_a_chat_template_that_renders(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}", raising=False)
    settings.check_chat(tokenizer, ["gsm8k"])


def test_language_detection_gets_a_seed_where_it_is_loaded(monkeypatch):
    seed_language_detection(5)  # nothing where no task has loaded it
    module = types.ModuleType("langdetect.detector_factory")
    module.DetectorFactory = type("DetectorFactory", (), {"seed": None})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    seed_language_detection(5)
    assert module.DetectorFactory.seed == 5
