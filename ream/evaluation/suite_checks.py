"""What can be known of a suite before anything is loaded: whether its tasks may run, and have all they need."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from ream import params
from ream.errors import UserError
from ream.evaluation.backends.abilities import check_loss, check_task
from ream.evaluation.pinned import PINNED
from ream.evaluation.settings import check_code_execution
from ream.models.family.limits import Limits

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
YES = {"1", "ON", "YES", "TRUE"}  # what the hub's libraries take for true


def check_suite(suite: params.Suite, evaluation: params.Evaluation, limits: Limits | None = None) -> None:
    """Refuse a suite with a pinned task that cannot be scored, by the task's name, without loading it.

    Args:
        suite: its tasks; only pinned ones are known before they are loaded.
        evaluation: says whether code may be executed, and which folder has tasks that replace those of lm-eval.
        limits: of the model's inputs; None where no model is at hand.

    Raises:
        UserError: the folder of tasks is not there; a task executes code that the model writes and that is not allowed,
            needs what the backend cannot
            do, a package that is not installed or data that is not in the cache while offline, or generates more tokens
            than the model can hold.
    """
    check_loss(suite, evaluation)
    _check_include(evaluation.include)
    for task in dict.fromkeys((*suite.mc, *suite.gen)):
        if task not in PINNED:
            continue
        pinned = PINNED[task]
        if pinned.runs_code:
            check_code_execution(task, evaluation.allow_code_execution)
        if Path(evaluation.include, f"{task}.yaml").exists():
            continue  # another task of this name
        check_task(task, pinned.output_type, suite, evaluation)
        _check_packages(task, pinned.packages)
        _check_nltk(task, pinned.nltk)
        _check_data(task, pinned.data)
        given = suite.generation[task].given if task in suite.generation else {}
        most = (dict(pinned.generation) | given).get("max_gen_toks", 0)
        check_generation(task, most, None if limits is None else limits.positions)


def _check_include(folder: str) -> None:
    """Refuse a folder of tasks that somebody has named and that is not there; the default one may be missing."""
    default = params.Evaluation.model_fields["include"].default
    if folder != default and not Path(folder).is_dir():
        what = "is a file" if Path(folder).is_file() else "does not exist"
        raise UserError(f"evaluation.include: {folder} {what}; name a folder of lm-eval's task files")


def check_generation(task: str, max_gen_toks: int, positions: int | None) -> None:
    """Refuse a task whose answers leave no room for a question in the model's context.

    Args:
        task: name of the task.
        max_gen_toks: the most tokens of an answer.
        positions: the most tokens of question and answer together; None for no limit.

    Raises:
        UserError: names the task and both numbers.
    """
    if positions is not None and max_gen_toks >= positions:
        raise UserError(
            f"task '{task}' lets the model write up to {max_gen_toks} tokens (max_gen_toks), but the model's context "
            f"of {positions} tokens has to hold the question, too; leave the task out, or raise evaluation.max_length "
            "if it is the limit"
        )


def _check_packages(task: str, packages: tuple[str, ...]) -> None:
    missing = [name for name in packages if name not in sys.modules and find_spec(name) is None]
    if missing:
        raise UserError(f"task '{task}' needs the package {' and '.join(missing)}; pip install {' '.join(missing)}")


def _check_nltk(task: str, tokenizers: tuple[str, ...]) -> None:
    """Refuse a task whose tokenizer of NLTK is not there: each of its answers would fail, one by one, after the model.

    lm-eval tries to fetch it, and goes on without where that fails.
    """
    if not tokenizers:
        return
    import nltk

    for name in tokenizers:
        try:
            nltk.data.find(f"tokenizers/{name}")
        except LookupError:
            raise UserError(
                f"task '{task}' needs NLTK's tokenizer {name}, which is not on this machine; "
                f"python -m nltk.downloader {name}"
            ) from None


def _check_data(task: str, dataset: str) -> None:
    """Refuse a data set of the hub that is not in the cache while the hub must not be asked."""
    offline = [name for name in OFFLINE if os.environ.get(name, "").upper() in YES]
    if offline and not any(path.exists() for path in _places(dataset)):
        raise UserError(
            f"task '{task}': its data set {dataset} is not in the cache, and {offline[0]} forbids to fetch it; unset "
            f"{offline[0]}, or fetch the data set before"
        )


def _places(dataset: str) -> list[Path]:
    """Where a data set of the hub may lie: a local folder of its name, and the caches of the two libraries."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    return [
        Path(dataset),
        hub / f"datasets--{dataset.replace('/', '--')}",
        prepared / dataset.replace("/", "___"),
        prepared / dataset.replace("/", "___").lower(),
    ]
