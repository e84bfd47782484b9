"""A user's own run of lm-eval, with its defaults, asks the same prompts as we do."""

import logging

import lm_eval.defaults
import pytest
from lm_eval.evaluator import simple_evaluate

from ream import params
from ream.evaluation.harness import Harness
from ream.evaluation.settings import SEEDS, seeds_of
from ream.evaluation.tasks import find_tasks
from tests.evaluation.test_suites import ARC, Asked, hub  # noqa: F401
from tests.subsets import some_slow

SCHEMAS = {
    "gsm8k": (
        "openai/gsm8k", "main",
        [{"question": f"How many {n}?", "answer": f"It is {n}.\n#### {n}"} for n in range(40)],
    ),
    "arc_easy": ("allenai/ai2_arc", "ARC-Easy", [row | {"id": f"{n}", "question": f"{row['question']} {n}"}
                                                 for n in range(10) for row in ARC]),
}  # fmt: skip


class Chatting(Asked):
    """A model that keeps its prompts and has a chat template."""

    tokenizer_name = "chatting"

    def chat_template(self, chat_template=False):
        return "template"

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in chat_history)


def asked_by(lm):
    return lm.prompts + lm.pairs


@pytest.mark.parametrize(
    ("task", "chats"),
    some_slow([("gsm8k", False), ("gsm8k", True), ("arc_easy", False)], keep=[("gsm8k", True), ("arc_easy", False)]),
)
def test_prompts_are_those_of_simple_evaluate(task, chats, hub, use, evaluation, tmp_path):  # noqa: F811
    path, config, rows = SCHEMAS[task]
    hub(path, config, train=rows[:20], validation=rows[:20], test=rows[20:])
    ours = use(Chatting())
    kind = "gen" if task == "gsm8k" else "mc"
    suite = params.Suite(**{kind: [task]}, num_fewshot={task: 5}, chat_template=[task] if chats else [])
    Harness(suite, evaluation, None).score(None, None, None)
    theirs = Chatting()
    manager = find_tasks([task], tmp_path / "none", None)[task]
    level = logging.getLogger("lm_eval").level
    try:
        simple_evaluate(
            theirs, tasks=[task], num_fewshot=5, task_manager=manager, bootstrap_iters=0, apply_chat_template=chats
        )
    finally:
        logging.getLogger("lm_eval").setLevel(level)
    assert asked_by(ours) == asked_by(theirs)
    assert len(asked_by(ours)) >= len(rows) - 20
    assert len(set(map(str, asked_by(ours)))) > 1
    other = use(Chatting())
    Harness(suite, evaluation.model_copy(update={"seed": 1}), None).score(None, None, None)
    assert asked_by(other) != asked_by(ours)


def test_seeds_are_lm_evals_defaults():
    assert {
        "random": lm_eval.defaults.DEFAULT_RANDOM_SEED,
        **dict.fromkeys(("numpy", "torch", "fewshot"), lm_eval.defaults.DEFAULT_OTHER_SEED),
    } == SEEDS
    assert seeds_of(0) == SEEDS
    assert seeds_of(3)["fewshot"] == SEEDS["fewshot"] + 3
