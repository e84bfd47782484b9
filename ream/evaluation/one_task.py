"""One task of lm-eval on one model: its result, and the answers to its questions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ream.evaluation.answer_counts import counts_of, robust_score
from ream.evaluation.answers import Answer, AnswerRecorder, answers_of
from ream.evaluation.headline import headline
from ream.evaluation.lm_eval_state import seed_global_streams
from ream.evaluation.lm_eval_types import LoadedTasks
from ream.evaluation.robust import ROBUST

if TYPE_CHECKING:
    from lm_eval.api.model import LM

BOOTSTRAP = 1000  # resamples for the standard errors that lm-eval has no formula for


def run_task(
    lm: "LM", name: str, loaded: LoadedTasks, settings: dict[str, Any], allow_code: bool
) -> tuple[dict[str, Any], list[Answer]]:
    """The result of a task from lm_eval.evaluate, and the answers to its questions."""
    recorder = getattr(lm, "recorder", None) or AnswerRecorder()  # another backend records nothing
    recorder.clear()
    report = evaluated(lm, loaded, settings, allow_code, BOOTSTRAP, log_samples=True)
    value, stderr, key = headline(name, report["results"][name], settings["metric"], settings["filter"])
    metric, _, chosen = key.partition(",")
    answers = list(answers_of(name, report["samples"], loaded["tasks"], metric, chosen, recorder, ROBUST.get(name)))
    result = {
        "value": 100 * value,
        "stderr": None if stderr is None else 100 * stderr,
        "items": sum(report["n-samples"][leaf]["effective"] for leaf in loaded["tasks"]),
        "num_fewshot": report["n-shot"][next(iter(loaded["tasks"]))],  # the same in all tasks of a group
        "version": str(report["versions"][name]),
        "metric": key,
        "settings": settings,
        "counts": counts_of(answers).model_dump(),
        **robust_score(answers),
    }
    return result, answers


def evaluated(
    lm: "LM",
    loaded: LoadedTasks,
    settings: Mapping[str, Any],
    allow_code: bool,
    bootstrap: int,
    log_samples: bool = False,
) -> dict[str, Any]:
    """What lm_eval.evaluate reports; simple_evaluate takes seconds more to describe the machine."""
    from lm_eval.evaluator import evaluate

    seed_global_streams(settings["seeds"])
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(settings["seeds"]["fewshot"])  # the task may have been used for another model before
    report: dict[str, Any] = evaluate(
        lm=lm,
        task_dict=loaded,
        limit=settings["limit"],
        apply_chat_template=settings["chat_template"],
        fewshot_as_multiturn=settings["chat_template"],
        bootstrap_iters=bootstrap,
        log_samples=log_samples,
        confirm_run_unsafe_code=allow_code,
    )
    return report
