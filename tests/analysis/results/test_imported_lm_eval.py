"""Files that lm-eval itself writes, and what spoils them."""

import json
import math
from pathlib import Path

import lm_eval.api.model
import pytest
from lm_eval.evaluator import evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from ream import params
from ream.analysis.results.imported import imported_rows
from ream.analysis.results.rows import Score
from ream.errors import UserError
from ream.evaluation import harness
from ream.evaluation.demo.items import build_items

TASKS = Path(__file__).parents[3] / "data" / "tasks"
GROUP = """
group: both
task: [demo_result, demo_word_problem]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1}
"""
SUITE = params.Suite(mc=["both", "demo_result"], gen=["demo_arithmetic"])


class ShortestChoice(lm_eval.api.model.LM):
    """Takes the shortest choice, and answers every third question of demo_arithmetic."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def loglikelihood(self, requests):
        return [(-float(len(request.args[1])), False) for request in requests]

    def generate_until(self, requests):
        return [self.known.get(request.args[0], "") for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder of tasks, folder of items, model)."""
    folder = tmp_path_factory.mktemp("world")
    build_items(folder / "items", 0, tasks=["demo_result", "demo_word_problem", "demo_arithmetic"])
    (folder / "tasks").mkdir()
    (folder / "tasks" / "both.yaml").write_text(GROUP)
    lines = (folder / "items" / "demo_arithmetic.jsonl").read_text(encoding="utf-8").splitlines()[::3]
    known = {row["context"]: f" {row['answer']}." for row in map(json.loads, lines)}
    return folder / "tasks", folder / "items", ShortestChoice(known)


@pytest.fixture(scope="module")
def written(world, tmp_path_factory):
    """The folder of two runs of lm-eval: the group, then the generative task."""
    tasks, items, model = world
    out = tmp_path_factory.mktemp("out")
    include = [str(TASKS), str(tasks)]
    manager = TaskManager(include_path=include, include_defaults=False, metadata={"items": str(items)})
    for name in ("both", "demo_arithmetic"):
        tracker = EvaluationTracker(output_path=str(out))
        tracker.general_config_tracker.log_experiment_args("hf", "pretrained=org/small", None, None, False)
        tracker.save_results_aggregated(
            evaluate(lm=model, task_dict=manager.load([name]), bootstrap_iters=10, log_samples=False)
        )
    assert [path.parent.name for path in out.rglob("results_*.json")] == ["org__small"] * 2
    return out


def entry(path, **changes):
    described = {"model": "org/m", "method": "reap", "experts": 8, "mix": {"c4": 1.0, "code": 3.0}, "parameters": 9}
    return params.Import(path=str(path), **(described | changes))


def read(path, mc=SUITE.mc, gen=SUITE.gen, metrics=None, **changes):
    (row,) = imported_rows({"old": entry(path, **changes)}, mc, gen, ["code", "c4"], metrics)
    return row


def test_the_round_trip_gives_the_scores_that_our_own_evaluation_gives(world, written, monkeypatch):
    tasks, items, model = world
    monkeypatch.setattr(harness, "language_model", lambda *_: model)
    (tasks / "joined").mkdir(exist_ok=True)
    for file in TASKS.iterdir():
        (tasks / "joined" / file.name).write_text(file.read_text())
    (tasks / "joined" / "both.yaml").write_text(GROUP)
    ours = harness.Harness(SUITE, params.Evaluation(suite="s", include=str(tasks / "joined")), items).score(
        None, None, None
    )
    row = read(written)
    scores = {**row.mc_tasks, **row.gen_tasks}
    assert list(scores) == [*SUITE.mc, *SUITE.gen]
    for name, score in scores.items():
        assert score.value == pytest.approx(ours["tasks"][name]["value"])
        assert score.stderr == pytest.approx(ours["tasks"][name]["stderr"])
        assert 0 < score.value < 100
        assert score.stderr > 0
    assert (row.mc, row.gen, row.avg) == tuple(pytest.approx(ours[name]) for name in ("mc", "gen", "avg"))
    assert (row.origin, row.model, row.method, row.experts, row.parameters) == ("old", "org/m", "reap", 8, 9)
    assert row.ratios == {"code": 3.0, "general": 1.0}


def test_a_group_is_the_share_of_all_its_questions(world, written):
    questions = {name: len((world[1] / f"{name}.jsonl").read_text().splitlines())
                 for name in ("demo_result", "demo_word_problem")}  # fmt: skip
    of_both = read(written, mc=["both", *questions], gen=[]).mc_tasks
    right = sum(of_both[name].value * count for name, count in questions.items())
    assert of_both["both"].value == pytest.approx(right / sum(questions.values()))
    assert questions["demo_result"] != questions["demo_word_problem"]


def test_a_file_by_itself_has_the_tasks_of_its_run(written):
    first, second = sorted(written.rglob("results_*.json"))
    assert (read(first, gen=[]).gen, read(second, mc=[]).mc) == (None, None)
    assert read(first).gen_tasks == {}  # a suite without any scores has no mean
    assert read(second).mc is None
    # any name will do for a file that is named itself
    copy = written / "copy.json"
    copy.write_bytes(first.read_bytes())
    assert read(copy, gen=[]).mc_tasks == read(first, gen=[]).mc_tasks


GOOD = {
    "alias": "rte", "name": "rte", "acc,none": 0.25, "acc_stderr,none": 0.01, "acc_norm,none": 0.5,
    "acc_norm_stderr,none": 0.02, "em,strict": 1.0, "em_stderr,strict": "N/A", "em,loose": 0.75,
}  # fmt: skip


def file(path, model="org/a", **results):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"results": results, "model_name": model}))  # NaN as lm-eval writes it, too
    return path


def test_scores_are_the_metrics_that_our_own_evaluation_takes(tmp_path):
    numbers = {"strict-match": 0.1, "flexible-extract": 0.2}
    gsm8k = {f"exact_match,{way}": value for way, value in numbers.items()} | {
        "exact_match_stderr,flexible-extract": 0.0
    }
    path = file(tmp_path / "results_1.json", rte=GOOD, gpqa_diamond_n_shot=GOOD, own=GOOD, gsm8k=GOOD | gsm8k)
    row = read(path, ["rte"], ["gsm8k", "gpqa_diamond_n_shot", "own"])
    assert row.mc_tasks == {"rte": Score(25.0, 1.0)}
    assert row.gen_tasks == {"gsm8k": Score(20.0, 0.0), "gpqa_diamond": Score(25.0, 1.0), "own": Score(25.0, 1.0)}
    chosen = {"rte": "acc_norm", "own": "em,loose"}
    row = read(path, ["rte"], ["own"], chosen)
    assert (row.mc_tasks, row.gen_tasks) == ({"rte": Score(50.0, 2.0)}, {"own": Score(75.0)})
    assert read(path, ["rte"], [], {"rte": "em"}).mc_tasks == {"rte": Score(100.0)}


def test_of_several_files_the_youngest_counts(tmp_path):
    file(tmp_path / "org__a" / "results_2026-02-01T00-00-00.1.json", rte=GOOD | {"acc,none": 0.75})
    file(tmp_path / "org__a" / "results_2026-01-01T00-00-00.1.json", rte=GOOD, boolq=GOOD)
    assert {name: score.value for name, score in read(tmp_path, ["rte", "boolq"], []).mc_tasks.items()} == {
        "rte": 75.0, "boolq": 25.0
    }  # fmt: skip
    file(tmp_path / "org__b" / "results_2026-03-01T00-00-00.1.json", model="org/b", rte=GOOD)
    assert refusal(tmp_path) == " has results of org/a, org/b; name the folder of one model"


def refusal(path, mc=("rte",), gen=(), **changes):
    with pytest.raises(UserError) as caught:
        read(path, list(mc), list(gen), **changes)
    line = str(caught.value)
    assert "\n" not in line
    return line.removeprefix(f"imports.old: {path}")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"acc,none": 25.0}, ": metric 'acc,none' of task 'rte' is 25.0, not between 0 and 1; choose another metric"),
        ({"acc,none": float("nan")}, ": metric 'acc,none' of task 'rte' is nan, not between 0 and 1"),
        ({"acc,none": -0.1}, ": metric 'acc,none' of task 'rte' is -0.1, not between 0 and 1"),
        ({"acc,none": "N/A"}, ": metric 'acc,none' of task 'rte' is nan, not between 0 and 1"),
        ({"acc,none": True}, ": metric 'acc,none' of task 'rte' is nan, not between 0 and 1"),
        ({"acc_stderr,none": math.nan}, ": the standard error of task 'rte' is nan, not a fraction between 0 and 1"),
        ({"acc_stderr,none": "?"}, ": the standard error of task 'rte' is ?, not a fraction between 0 and 1"),
        ({"acc_stderr,none": -1}, ": the standard error of task 'rte' is -1, not a fraction between 0 and 1"),
    ],
)
def test_numbers_that_are_not_fractions_are_refused(tmp_path, changes, line):
    assert refusal(file(tmp_path / "r.json", rte=GOOD | changes)).startswith(line)


def test_files_that_are_not_lm_evals_are_refused(tmp_path):
    path = tmp_path / "r.json"
    assert refusal(path) == " does not exist; name a file or folder that lm-eval wrote, or a .csv file"
    assert refusal(tmp_path) == " has no results_*.json, as lm-eval writes them with --output_path"
    path.write_text("model,method")
    assert refusal(path).startswith(f"{path} is not valid JSON")
    for text in ("[]", "{}", '{"results": 3}', '{"results": {"rte": 3}}'):
        path.write_text(text)
        assert refusal(path) == ": r.json is not what lm-eval writes: it has no table 'results' of tasks"
    assert refusal(file(path, rte={"acc": 0.5})) == (
        ": task 'rte' has no score 'metric,filter', as lm-eval 0.4 writes it, but acc; evaluate again"
    )


def test_missing_tasks_and_metrics_are_refused(tmp_path):
    path = file(tmp_path / "r.json", rte=GOOD)
    assert (
        refusal(path, mc=["rte", "mmlu"])
        == ": no value for mmlu; MC is the mean of rte, mmlu: give all of them, or none"
    )
    assert refusal(path, mc=["boolq"]) == ": no value for any task of the suite; it has boolq"
    assert refusal(path, metrics={"rte": "f1"}) == (
        ": metric 'f1' of task 'rte' is unknown; it has: acc,none, acc_norm,none, em,strict, em,loose"
    )
    assert "two sources of one kind: general, c4; merge them into one" in refusal(path, mix={"general": 1, "c4": 1})


def test_a_number_that_no_float_can_hold_is_one_line(tmp_path):
    results = {
        "arc_easy": {"acc,none": 10**400, "acc_stderr,none": 0.01},
        "gsm8k": {"exact_match,flexible-extract": 0.5},
    }
    for value, stderr in ((10**400, 0.01), (0.5, 10**400)):
        results["arc_easy"] = {"acc,none": value, "acc_stderr,none": stderr}
        (tmp_path / "results_1.json").write_text(json.dumps({"results": results}))
        entry = params.Import(path=str(tmp_path / "results_1.json"), model="m", method="reap", experts=4)
        with pytest.raises(UserError, match=r"^imports\.x: .*'arc_easy'") as caught:
            imported_rows({"x": entry}, ["arc_easy"], ["gsm8k"], ["math"])
        assert len(str(caught.value)) < 1000
