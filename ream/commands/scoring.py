"""What `ream evaluate` is asked for, as one checked tree of settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ream.commands.configuring import configured, with_section
from ream.commands.request import DECIDED
from ream.commands.shipped import TASKS, task_folder
from ream.commands.texts import text_sources
from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params import Params

OWN_SUITE = "text"  # of `ream evaluate --text` without a suite: the loss on that text, and no tasks


@dataclass(frozen=True)
class ScoreRequest:
    """A model to score as it is asked for; None leaves a setting to the params file.

    Attributes:
        model: hub id or folder.
        suite: a suite of the params file.
        backend: ``hf``, ``vllm``, ``layers`` or ``endpoint``.
        endpoint: base URL of a server; makes the backend ``endpoint``.
        endpoint_model: name of the model there.
        limit: items of every task.
        allow_code_execution: whether generated code may run; False leaves it to the params file.
        text: own text whose held-out loss is measured, in place of the suite's. Without a suite, nothing else is.
        whole_text: measure on all of the text, not on its held-out part alone.
        sequences: windows of each text, at most.
        tokens: of a window.
        settings: further settings as SECTION.KEY=VALUE.
    """

    model: str
    suite: str | None = None
    backend: str | None = None
    endpoint: str | None = None
    endpoint_model: str | None = None
    limit: int | None = None
    allow_code_execution: bool = False
    text: tuple[str, ...] = ()
    whole_text: bool = False
    sequences: int | None = None
    tokens: int | None = None
    settings: tuple[str, ...] = ()


def scoring(request: ScoreRequest, params_path: Path) -> "Params":
    """The settings for scoring one model.

    Raises:
        UserError: an unknown suite or setting, or a value that is not allowed.
    """
    from ream.errors import unknown
    from ream.params import parse_params

    allow_code_execution = request.allow_code_execution or None
    served = request.endpoint is not None or request.endpoint_model is not None
    if served and request.backend not in (None, "endpoint"):
        raise UserError(f"--backend {request.backend} takes no --endpoint and no --endpoint-model; leave them out")
    options = {
        "evaluation.suite": ("--suite", request.suite),
        "evaluation.backend": ("--endpoint" if served else "--backend", "endpoint" if served else request.backend),
        "evaluation.endpoint.base_url": ("--endpoint", request.endpoint),
        "evaluation.endpoint.model": ("--endpoint-model", request.endpoint_model),
        "evaluation.allow_code_execution": ("--allow-code-execution", allow_code_execution),
    }
    decided = {"model.path": DECIDED["model.path"]}
    tree, base = configured(params_path, request.settings, options, decided)
    name = request.suite or base.evaluation.suite
    if name not in base.suites:
        raise unknown("suite", name, base.suites, f"{params_path}, 'suites',")
    tree = with_section(tree, "model", {"path": request.model})
    tree = with_section(tree, "evaluation", {"include": task_folder(tree["evaluation"].get("include", TASKS))})
    if request.text:
        texts, name = text_sources(request.text, request.whole_text), request.suite or OWN_SUITE
        tree["sources"] = {**tree["sources"], **texts}
        tree["mixes"], tree["run"] = {}, with_section(tree, "run", {"mixes": [], "rank": [], "extra": {}})["run"]
        tree["exports"] = {}
        given = base.suites[request.suite or base.evaluation.suite]
        loss = {"loss": list(texts), "loss_sequences": given.loss_sequences, "loss_tokens": given.loss_tokens}
        tree["suites"] = with_section(tree["suites"], name, loss)
        tree = with_section(tree, "evaluation", {"suite": name})
    changes = {"limit": request.limit, "loss_sequences": request.sequences, "loss_tokens": request.tokens}
    wanted = {key: value for key, value in changes.items() if value is not None}
    if wanted:
        tree["suites"] = with_section(tree["suites"], name, wanted)
    return parse_params(tree, f"{params_path} with the options given")
