"""Tasks of lm-eval, loaded with their data and set up as a suite wants them."""

from typing import Any

from ream.errors import UserError
from ream.evaluation import tasks
from ream.evaluation.lm_eval_state import seed_global_streams, seed_language_detection
from ream.evaluation.lm_eval_types import LoadedTasks, Task, TaskManager
from ream.evaluation.pinned import PINNED
from ream.evaluation.settings import check_code_execution

ANSWER_TOKENS = 256  # of a task that does not say how many, as in lm-eval


def answer_tokens(task: Task) -> int:
    """The most tokens of a generated answer, which a task can call by several names; lm-eval's default is 256."""
    from lm_eval.models.utils import normalize_gen_kwargs

    return int(normalize_gen_kwargs(dict(task.config.generation_kwargs or {}), ANSWER_TOKENS)["max_gen_toks"])


def prepared(name: str, manager: TaskManager, settings: dict[str, Any], allow_code: bool) -> LoadedTasks:
    """Load a task, or the tasks of a group, with its data and set it up as ``settings`` say.

    Raises:
        UserError: the task executes code and that is not allowed, it lacks data or packages, or it has no such metric.
    """
    seed_global_streams(settings["seeds"])
    loaded = tasks.load_task(name, manager)
    seed_language_detection(settings["seeds"]["random"])
    for task in loaded["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False):
            check_code_execution(name, allow_code)
        shots = settings["num_fewshot"]
        task.set_config("num_fewshot", shots if shots is not None else task.get_config("num_fewshot") or 0)
        task.set_fewshot_seed(settings["seeds"]["fewshot"])
        if settings["generation"]:
            task.set_config("generation_kwargs", settings["generation"], update=True)
        known = [str(metric) for metric in task.aggregation()]
        if name not in PINNED and settings["metric"] not in (None, *known):
            raise UserError(f"metric '{settings['metric']}' of task '{name}' is unknown; it has: {', '.join(known)}")
    return loaded
