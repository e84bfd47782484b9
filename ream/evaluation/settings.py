"""Settings of a task, and checks that refuse what cannot run before anything runs."""

import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ream import params
from ream.errors import UserError
from ream.evaluation.pinned import PINNED
from ream.machine.bounded import check_bounded
from ream.machine.documents import read_bytes
from ream.machine.installed import installed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MESSAGES = [{"role": "user", "content": "What is 1 + 1?"}]  # by which a chat template is tried
CHAT_SECONDS = 10.0  # in which a chat template renders one short message; it takes a thousandth of that
SEEDS = {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}  # lm-eval's defaults
VERSIONS = ("lm_eval", "torch", "transformers")


def task_settings(
    name: str,
    suite: params.Suite,
    evaluation: params.Evaluation,
    items: Path | None = None,
    special_tokens: str = "tokenizer",
) -> dict[str, Any]:
    """All that a task's score depends on besides the model: the suite's settings, or else the pinned ones.

    Returns:
        A JSON object. None stands for the task's own setting. ``items`` is a digest: of the YAML files in
        evaluation.include and of the task's items for a demo task, of the task's folder for a pinned task of ours.
    """
    pinned = PINNED.get(name)
    metric, chosen = score_metric(name, suite.metric, suite.mc)
    given, chats = suite.generation[name].given if name in suite.generation else {}, name in suite.chat_template
    return {
        "metric": metric,
        "filter": chosen,
        "num_fewshot": suite.num_fewshot.get(name, pinned.num_fewshot if pinned is not None else None),
        "generation": (dict(pinned.generation) if pinned is not None else {}) | given,
        "chat_template": chats,
        **({"chat_template_args": suite.chat_template_args} if chats and suite.chat_template_args else {}),
        **({"think_end_token": suite.think_end_token} if name in suite.gen and suite.think_end_token else {}),
        "limit": suite.limit,
        "special_tokens": special_tokens,
        "max_length": evaluation.max_length,
        "backend": evaluation.backend,
        **_of_backend(evaluation),
        "seed": evaluation.seed,
        "seeds": seeds_of(evaluation.seed),
        "items": _files(name, items, Path(evaluation.include)),
        "versions": {package: _version(package) for package in _libraries(evaluation)},
    }


def _libraries(evaluation: params.Evaluation) -> tuple[str, ...]:
    """Packages whose versions scores depend on."""
    return (*VERSIONS, "vllm") if evaluation.backend == "vllm" else VERSIONS


def _of_backend(evaluation: params.Evaluation) -> dict[str, Any]:
    """What scores of the backend depend on: arguments of vLLM, and what answers at an endpoint."""
    if evaluation.backend == "vllm" and evaluation.vllm:
        return {"vllm": evaluation.vllm}
    if evaluation.backend == "endpoint" and evaluation.endpoint is not None:
        return {"endpoint": evaluation.endpoint.model_dump(include={"base_url", "model", "api"})}
    return {}


def seeds_of(seed: int) -> dict[str, int]:
    """The seeds of the random streams of an evaluation: with seed 0 the defaults of lm-eval, else as far from them.

    So a run of lm-eval without further options has the same few-shot examples.

    Args:
        seed: evaluation.seed.
    """
    return {name: default + seed for name, default in SEEDS.items()}


def score_metric(name: str, metrics: Mapping[str, str], mc: Sequence[str]) -> tuple[str | None, str | None]:
    """The metric and filter of a task's score: the suite's, or else the pinned ones, or else acc for an MC task.

    Args:
        name: name of the task.
        metrics: "metric" or "metric,filter" of the tasks for which the suite sets one.
        mc: the suite's multiple-choice tasks.

    Returns:
        metric: name of the metric; None for the task's first.
        filter: name of the filter; None for the first of the metric.
    """
    pinned = PINNED.get(name)
    metric, _, chosen = metrics.get(name, "").partition(",")
    if not metric and pinned is not None:
        metric, chosen = pinned.metric, pinned.filter
    return metric or ("acc" if name in mc else None), chosen or None


def check_code_execution(name: str, allowed: bool) -> None:
    """Refuse a task that executes code written by the model unless that is allowed.

    Args:
        name: name of the task.
        allowed: evaluation.allow_code_execution.

    Raises:
        UserError: it is not allowed.
    """
    if not allowed:
        raise UserError(
            f"task '{name}' executes code that the model writes; leave it out, or set "
            "evaluation.allow_code_execution: true on a machine that holds nothing of value"
        )


def check_backend(evaluation: params.Evaluation) -> None:
    """Refuse a backend that is not installed, and arguments that it does not know.

    Raises:
        UserError: the backend is vllm, and the package is missing or has no such argument.
    """
    if evaluation.backend != "vllm":
        return
    from ream.evaluation.backends.vllm_arguments import check_arguments
    from ream.evaluation.backends.vllm_recorded import INSTALL

    check_arguments(evaluation.vllm)
    if importlib.util.find_spec("vllm") is None:
        raise UserError(f"evaluation.backend: vllm is not installed; {INSTALL}, or set the backend to hf")


def check_model(model: object, backend: str) -> None:
    """Refuse a model that the backend cannot take.

    Raises:
        UserError: the backend is vllm and the model is not a path or hub id.
    """
    if backend == "vllm" and not isinstance(model, str | Path):
        raise UserError("evaluation.backend: vllm reads a checkpoint; export the model first, or set the backend to hf")


def check_chat(
    tokenizer: "PreTrainedTokenizerBase | None",
    chat_tasks: Sequence[str],
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Refuse a tokenizer without a chat template if tasks need one, and a template that fails or does not end.

    Args:
        tokenizer: tokenizer of the model; None, which is not checked, if vLLM reads it from the checkpoint.
        chat_tasks: tasks whose prompts go through the chat template.
        arguments: variables of the template.

    Raises:
        UserError: the tokenizer has no chat template; the message names the tasks. Or the template does not read one of
            the variables. Or the template, which is a program of whoever made the model, fails, or takes too long or
            too much memory on one short message.
    """
    if not chat_tasks or tokenizer is None:
        return
    names = ", ".join(chat_tasks)
    if getattr(tokenizer, "chat_template", None) is None:
        raise UserError(
            f"the model's tokenizer has no chat template, but the suite needs one for {names}; remove these tasks from "
            "the suite's chat_template"
        )
    template = str(getattr(tokenizer, "chat_template", None))
    for name in arguments:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise UserError(f"chat_template_args: the model's chat template does not read '{name}'; leave it out")
    render: Any = getattr(tokenizer, "apply_chat_template", None)
    check_bounded(
        lambda: render(MESSAGES, tokenize=False, add_generation_prompt=True, **arguments),
        "the chat template of the model's tokenizer",
        CHAT_SECONDS,
        remedy=f"correct it, or remove {names} from the suite's chat_template",
    )


@cache
def _version(package: str) -> str | None:
    found = installed(package)
    return None if found is None else found.version


def _files(name: str, items: Path | None, include: Path) -> str | None:
    if name in PINNED and Path(PINNED[name].folder).is_absolute():
        return _digest(Path(PINNED[name].folder))
    rows = items / f"{name}.jsonl" if items is not None else None
    return _digest(include, rows) if rows is not None and rows.is_file() else None


def _digest(tasks: Path, rows: Path | None = None) -> str:
    digest = hashlib.sha256(read_bytes(rows) if rows is not None else b"")
    for path in sorted(path for path in tasks.iterdir() if path.is_file()):
        digest.update(read_bytes(path))
    return digest.hexdigest()
