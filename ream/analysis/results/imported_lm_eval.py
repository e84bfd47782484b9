"""Scores from the JSON that lm-eval 0.4 writes: one ``results_DATE.json``, or the folder of its --output_path."""

import math
from pathlib import Path
from typing import Any

from ream.analysis.results.imported_suites import Suites
from ream.analysis.results.rows import TASKS, Score
from ream.errors import UserError
from ream.evaluation.headline import headline
from ream.evaluation.settings import score_metric
from ream.machine.files import read_json

WRITTEN = "results_*.json"
LARGEST = 1 << 63  # whole number


def read_lm_eval(where: str, path: str | Path, suites: Suites) -> dict[str, Score]:
    """Scores in percent of those tasks and groups of the suite that the results have.

    A task's score is the number that our own evaluation would take (`score_metric`, `headline`). The files of a folder
    are joined; where several have a task, the youngest counts, by the date that lm-eval puts into the file's name.

    Args:
        where: name of the path in messages.
        path: the file or folder.
        suites: the suite's tasks and metrics.

    Raises:
        UserError: the path does not exist; it is not lm-eval's JSON; a folder has results of several models; a score or
            its standard error is not a fraction between 0 and 1; or a task does not have the metric.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{where} does not exist; name a file or folder that lm-eval wrote, or a .csv file")
    files = sorted(path.rglob(WRITTEN), key=lambda file: file.name) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{where} has no {WRITTEN}, as lm-eval writes them with --output_path")
    trees = [_tree(where, file) for file in files]
    models = sorted({str(tree["model_name"]) for tree in trees if tree.get("model_name") is not None})
    if len(models) > 1:
        raise UserError(f"{where} has results of {', '.join(models)}; name the folder of one model")
    results: dict[str, Any] = {}
    for tree in trees:
        results |= tree["results"]
    scores = {}
    for task in (*suites.mc, *suites.gen):
        name = task if task in results else TASKS.get(task, task)
        if name in results:
            scores[task] = _score(where, task, results[name], suites)
    return scores


def _tree(where: str, file: Path) -> dict[str, Any]:
    """The content of a results file; its table 'results' is checked."""
    tree: dict[str, Any] = read_json(file)
    results = tree.get("results") if isinstance(tree, dict) else None
    if not isinstance(results, dict) or not all(isinstance(of_task, dict) for of_task in results.values()):
        raise UserError(f"{where}: {file.name} is not what lm-eval writes: it has no table 'results' of tasks")
    return tree


def _score(where: str, task: str, results: dict[str, Any], suites: Suites) -> Score:
    """A task's score and standard error, from lm-eval's ``metric,filter`` to number."""
    if not any("," in key for key in results):
        shown = ", ".join(map(str, results)) or "nothing"
        raise UserError(
            f"{where}: task '{task}' has no score 'metric,filter', as lm-eval 0.4 writes it, but {shown}; evaluate "
            "again"
        )
    metric, chosen = score_metric(task, suites.metrics, suites.mc)
    # a value that is not a number is refused, as NaN is, but only if its metric is the one asked for
    numbers = {key: value if _is_number(value) else math.nan for key, value in results.items()}
    try:
        value, _, key = headline(task, numbers, metric, chosen)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    used_metric, _, used_filter = key.partition(",")
    stderr = results.get(f"{used_metric}_stderr,{used_filter}")
    if stderr is None or stderr == "N/A":  # lm-eval's word for a metric without one
        return Score(100 * value)
    if not _is_number(stderr) or not 0 <= stderr <= 1:
        raise UserError(
            f"{where}: the standard error of task '{task}' is {stderr}, not a fraction between 0 and 1; evaluate again"
        )
    return Score(100 * value, 100 * float(stderr))


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    return isinstance(value, float) or (type(value) is int and abs(value) < LARGEST)
