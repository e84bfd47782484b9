"""One task of lm-eval on one model: its result, and the number among lm-eval's that is its score."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ream.errors import UserError
from ream.evaluation.lm_eval_state import seed_global_streams
from ream.evaluation.lm_eval_types import LoadedTasks

if TYPE_CHECKING:
    from lm_eval.api.model import LM

BOOTSTRAP = 1000  # resamples for the standard errors that lm-eval has no formula for


def run_task(lm: "LM", name: str, loaded: LoadedTasks, settings: dict[str, Any], allow_code: bool) -> dict[str, Any]:
    """The result of a task from lm_eval.evaluate."""
    report = evaluated(lm, loaded, settings, allow_code, BOOTSTRAP)
    value, stderr, key = headline(name, report["results"][name], settings["metric"], settings["filter"])
    return {
        "value": 100 * value,
        "stderr": None if stderr is None else 100 * stderr,
        "items": sum(report["n-samples"][leaf]["effective"] for leaf in loaded["tasks"]),
        "num_fewshot": report["n-shot"][next(iter(loaded["tasks"]))],  # the same in all tasks of a group
        "version": str(report["versions"][name]),
        "metric": key,
        "settings": settings,
    }


def evaluated(
    lm: "LM", loaded: LoadedTasks, settings: Mapping[str, Any], allow_code: bool, bootstrap: int
) -> dict[str, Any]:
    """What lm_eval.evaluate reports; simple_evaluate takes seconds more to describe the machine."""
    from lm_eval.evaluator import evaluate

    seed_global_streams(settings["seed"])
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(settings["seed"])  # the task may have been used for another model before
    report: dict[str, Any] = evaluate(
        lm=lm,
        task_dict=loaded,
        limit=settings["limit"],
        apply_chat_template=settings["chat_template"],
        fewshot_as_multiturn=settings["chat_template"],
        bootstrap_iters=bootstrap,
        log_samples=False,
        confirm_run_unsafe_code=allow_code,
    )
    return report


def headline(
    name: str, metrics: Mapping[str, Any], metric: str | None, chosen: str | None
) -> tuple[float, float | None, str]:
    """The score of a task among lm-eval's numbers: the first of the given metric and filter.

    Args:
        name: name of the task, for messages.
        metrics: "metric,filter" to value, and "metric_stderr,filter" to standard error, as fractions of 1.
        metric: name of the metric; None for any.
        chosen: name of the filter; None for any.

    Returns:
        value: the score, a fraction of 1.
        stderr: its standard error; None if lm-eval gives none.
        key: "metric,filter" of the score.

    Raises:
        UserError: no number has this metric and filter, or its value is not between 0 and 1.
    """
    keys = [key for key in metrics if "," in key and not key.split(",")[0].endswith("_stderr")]
    for key in keys:
        key_metric, _, key_filter = key.partition(",")
        if metric in (None, key_metric) and chosen in (None, key_filter):
            value, stderr = float(metrics[key]), metrics.get(f"{key_metric}_stderr,{key_filter}")
            if not 0 <= value <= 1:
                raise UserError(
                    f"metric '{key}' of task '{name}' is {value}, not between 0 and 1; choose another metric"
                )
            return value, stderr if isinstance(stderr, float) else None, key
    asked = ",".join(part for part in (metric, chosen) if part)
    raise UserError(f"metric '{asked}' of task '{name}' is unknown; it has: {', '.join(keys)}")
