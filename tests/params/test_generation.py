"""suites.*.generation and chat_template_args: what is refused at load, and what lm-eval is told."""

import pytest
import yaml

from ream.errors import UserError
from ream.evaluation.settings import task_settings
from ream.params import Evaluation, Suite, parse_params
from tests.tiny import ROOT

KEY = r"suites\.gen\.generation\.gsm8k\."


def with_suite(**changes):
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["suites"]["gen"] |= changes
    return parse_params(tree, "params.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generation": {"gsm9k": {"temperature": 1}}}, "names 'gsm9k', which is not in gen; its tasks are: ifeval"),
        ({"generation": {"gsm8k": {"max_new_tokens": 9}}}, rf"'{KEY}max_new_tokens' is unknown; .*{KEY}max_gen_toks"),
        ({"generation": {"gsm8k": {"max_gen_toks": 0}}}, rf"{KEY}max_gen_toks: .*greater than or equal to 1"),
        ({"generation": {"gsm8k": {"top_p": 0.9}}}, "top_p does nothing without a temperature above 0"),
        ({"generation": {"gsm8k": {"do_sample": True}}}, "do_sample: true needs a temperature above 0"),
        ({"generation": {"gsm8k": {"do_sample": False, "temperature": 1}}}, "contradict each other"),
        ({"chat_template": [], "chat_template_args": {"enable_thinking": True}}, "do nothing without chat_template"),
        ({"think_end_token": "151668"}, "think_end_token: .*pattern"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_at_load(changes, message):
    with pytest.raises(UserError, match=message):
        with_suite(**changes)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"max_gen_toks": 9}, {"max_gen_toks": 9}),
        ({"temperature": 0.6, "top_p": 0.9}, {"temperature": 0.6, "top_p": 0.9, "do_sample": True}),
        ({"temperature": 0}, {"temperature": 0.0, "do_sample": False}),
        ({"do_sample": False, "until": ["x"]}, {"temperature": 0.0, "do_sample": False, "until": ["x"]}),
    ],
)
def test_what_lm_eval_is_told(entry, told):
    assert with_suite(generation={"gsm8k": entry}).suites["gen"].generation["gsm8k"].given == told


def test_scores_record_what_is_set_over_what_is_pinned():
    suite = Suite(
        mc=["boolq"], gen=["gsm8k", "aime25"], chat_template=["gsm8k"], chat_template_args={"enable_thinking": False},
        think_end_token="</think>", generation={"gsm8k": {"max_gen_toks": 99, "temperature": 0.5}},
    )  # fmt: skip
    settings = {task: task_settings(task, suite, Evaluation(suite="x")) for task in ("boolq", "gsm8k", "aime25")}
    assert settings["gsm8k"]["generation"] == {"do_sample": True, "temperature": 0.5, "max_gen_toks": 99}
    assert settings["gsm8k"]["chat_template_args"] == {"enable_thinking": False}
    assert settings["aime25"]["generation"]["max_gen_toks"] == 32768
    assert "chat_template_args" not in settings["aime25"]
    assert [settings[task].get("think_end_token") for task in settings] == [None, "</think>", "</think>"]
