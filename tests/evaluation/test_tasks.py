from pathlib import Path

import datasets
import pytest

from ream.errors import UserError
from ream.evaluation import tasks
from ream.evaluation.demo.items import TASKS
from ream.evaluation.pinned import PINNED

OWN = Path(__file__).parents[2] / "data" / "tasks"
QUESTIONS = [
    {
        "Question": f"q{i}",
        "Correct Answer": f"right{i}",
        **{f"Incorrect Answer {n}": f"wrong{i}{n}" for n in (1, 2, 3)},
    }
    for i in range(40)
]


@pytest.fixture
def few_tasks(monkeypatch):
    """lm-eval's folder of ARC instead of all its folders, because indexing those takes 15 s."""
    import lm_eval.tasks

    folder = Path(lm_eval.tasks.__file__).parent / "arc"
    manager = lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False)
    monkeypatch.setattr(tasks, "_everything", lambda: manager)
    return manager


def test_every_pinned_task_is_where_it_says_and_has_its_metric():
    managers = tasks.find_tasks(PINNED, OWN, None)
    for name, pinned in PINNED.items():
        config = managers[name].task_index[name].cfg
        if "group" in config:
            assert [metric["metric"] for metric in config["aggregate_metric_list"]] == [pinned.metric]
            continue
        metrics = [str(metric["metric"]) for metric in config["metric_list"]]
        assert pinned.metric in metrics or name == "humaneval"  # whose metric is a function
        filters = [entry["name"] for entry in config.get("filter_list", [{"name": "none"}])]
        assert pinned.filter in filters
        assert tasks.runs_code(name, managers[name]) == (name in ("humaneval", "livecodebench_v6"))
        generation = config.get("generation_kwargs", {})
        assert {key: generation.get(key, 256) for key in pinned.generation} == dict(pinned.generation)


def test_own_and_pinned_tasks_are_found_without_the_index_of_all(monkeypatch):
    def refuse():
        raise AssertionError("all tasks were indexed")

    monkeypatch.setattr(tasks, "_everything", refuse)
    managers = tasks.find_tasks(["demo_prose", "arc_easy"], OWN, Path("items"))
    assert set(managers["demo_prose"].all_tasks) == set(TASKS)
    assert managers["demo_prose"].metadata == {"items": "items"}


def test_other_tasks_are_found_among_all(few_tasks):
    assert tasks.find_tasks(["arc_challenge_chat"], OWN, None) == {"arc_challenge_chat": few_tasks}


@pytest.mark.parametrize(
    ("given", "near"), [("demo_proze", "demo_prose"), ("arc_challenge_chats", "arc_challenge_chat")]
)
def test_an_unknown_task_names_the_nearest(few_tasks, given, near):
    with pytest.raises(UserError, match=f"task '{given}' is unknown; did you mean '{near}'"):
        tasks.find_tasks([given], OWN, None)


def test_data_out_of_reach_is_said_in_a_line(few_tasks):
    with pytest.raises(UserError, match="task 'arc_easy': its data set cannot be read"):
        tasks.load_task("arc_easy", few_tasks)


def test_a_missing_package_is_named(tmp_path):
    from lm_eval.tasks import TaskManager

    (tmp_path / "t.yaml").write_text(
        "task: t\ntest_split: test\ndoc_to_text: a\ndoc_to_target: a\ncustom_dataset: !function helper.load\n"
    )
    (tmp_path / "helper.py").write_text("import no_such_package_at_all\n")
    with pytest.raises(UserError, match="pip install no_such_package_at_all"):
        tasks.load_task("t", TaskManager(include_path=str(tmp_path), include_defaults=False))


def gpqa():
    """lm-eval's GPQA on questions of our own."""
    import lm_eval.tasks
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(Path(lm_eval.tasks.__file__).parent / "gpqa/n_shot/gpqa_diamond_n_shot.yaml")
    rows = datasets.Dataset.from_list(QUESTIONS)
    return ConfigurableTask(config={**config, "num_fewshot": 3, "custom_dataset": lambda **_: {"train": rows}})


def test_choices_shuffled_at_random_are_shuffled_once():
    tasks._forget_helpers()
    task = gpqa()
    tasks.process_once(task)
    task.set_fewshot_seed(0)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    asked = {instance.doc_id: instance for instance in task.instances}
    keys = dict(task.doc_iterator(rank=0, limit=None, world_size=1))
    assert len({doc["answer"] for doc in keys.values()}) == 4
    for index, doc in keys.items():
        assert asked[index].doc == doc
        assert doc[f"choice{'ABCD'.index(doc['answer'][1]) + 1}"] == doc["Correct Answer"]
        assert asked[index].args[0].count(f"Question: {doc['Question']}\n") == 1  # never among its own examples


def test_a_task_does_not_depend_on_what_was_loaded_before():
    answers = []
    for _ in range(2):
        tasks._forget_helpers()
        task = gpqa()
        tasks.process_once(task)
        answers.append([doc["answer"] for _, doc in task.doc_iterator(rank=0, limit=None, world_size=1)])
    assert answers[0] == answers[1]
