from ream import params
from ream.evaluation.settings import task_settings


def test_settings_are_the_suites_else_the_pinned(evaluation):
    suite = params.Suite(gen=["gsm8k", "ifeval"], num_fewshot={"gsm8k": 8}, metric={"ifeval": "inst_level_loose_acc"})
    gsm8k, ifeval = (task_settings(name, suite, evaluation) for name in suite.gen)
    assert (gsm8k["metric"], gsm8k["filter"], gsm8k["num_fewshot"]) == ("exact_match", "flexible-extract", 8)
    assert (ifeval["metric"], ifeval["filter"], ifeval["num_fewshot"]) == ("inst_level_loose_acc", None, 0)
    assert ifeval["generation"]["max_gen_toks"] == 1280
    assert task_settings("other", params.Suite(mc=["other"]), evaluation)["metric"] == "acc"
    assert task_settings("other", params.Suite(gen=["other"]), evaluation)["metric"] is None
