"""What the command line asks for, as one checked tree of settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ream.commands.configuring import configured, with_section
from ream.commands.mixes import asked_mix
from ream.commands.shipped import TASKS, task_folder
from ream.commands.texts import text_sources
from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params import Params

DEFAULT_GROUP_SIZE = 16
OWN_SUITE = "text"  # of `ream evaluate --text` without a suite: the loss on that text, and no tasks
# Settings that a compression decides by itself, and how.
DECIDED = {
    "model.path": "the argument MODEL sets it",
    "run": "--method, --experts and --mix set it",
    "exports": "it belongs to the graph of dvc.yaml",
    "rank": "it belongs to the graph of dvc.yaml",
}


@dataclass(frozen=True)
class Request:
    """A compression as it is asked for; None leaves a setting to the params file.

    Attributes:
        model: hub id or folder.
        out: folder to write.
        experts: K, the number of experts to keep in every layer.
        method: a method of the params file.
        mix: ratios ``a=0.3,b=0.7`` or the name of a mix.
        calibration: Parquet file of own tokens.
        text: own text, as `ream.commands.texts.own_text` reads it; without a mix, all in equal parts.
        group_size: C, the most experts that a centroid absorbs.
        sequences: of the mix together; a sequential method draws as many from every source and takes its mix from them.
        tokens: tokens of a sequence.
        device: where to compute.
        keep_shards: whether shards of a hub model stay in the hub's cache.
        settings: further settings as SECTION.KEY=VALUE.
        ignore: layers that keep all experts, where the model's config can say so.
    """

    model: str
    out: Path
    experts: int
    method: str
    mix: str | None = None
    calibration: Path | None = None
    text: tuple[str, ...] = ()
    group_size: int | None = None
    sequences: int | None = None
    tokens: int | None = None
    device: str | None = None
    keep_shards: bool | None = None
    settings: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


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


class Cell(NamedTuple):
    """One cell of the graph: the names of a recipe."""

    mix: str
    method: str
    experts: int


def check_shards(model: str, keep_shards: bool | None) -> None:
    """Refuse to remove the shards of a folder, which cannot be fetched again.

    Raises:
        UserError: --drop-shards with a folder.
    """
    if keep_shards is False and Path(model).is_dir():
        raise UserError(
            f"--drop-shards is for models of the hub, but '{model}' is a folder, whose shards are kept; leave it out"
        )


def sources_of(params: "Params", mix: str) -> list[str]:
    """The sources with a positive ratio in a mix."""
    return [source for source, ratio in params.mix(mix).items() if ratio > 0]


def requested(
    request: Request, params_path: Path, methods: Sequence[str] = (), sizes: Sequence[int] = ()
) -> tuple["Params", str]:
    """The settings of a compression, and the name of its mix.

    Args:
        request: the compression.
        params_path: the params file.
        methods: all methods, where there are several.
        sizes: all numbers of experts to keep, where there are several.

    Raises:
        UserError: an unknown method, mix, source or setting, a value that is not allowed, or own tokens that cannot be
            read.
    """
    from ream.params import parse_params

    options = {
        "calibration.sequences": ("--sequences", request.sequences),
        "calibration.tokens": ("--tokens", request.tokens),
        "compute.device": ("--device", request.device),
        "model.keep_shards": ("--keep-shards/--drop-shards", request.keep_shards),
        "grouping.group_size": ("--group-size", request.group_size),
    }
    tree, base = configured(params_path, request.settings, options, DECIDED)
    wanted, texts = (
        {name: base.method(name).sequential for name in methods or [request.method]},
        text_sources(request.text),
    )
    mix, ratios = asked_mix(request.mix, list(texts), request.calibration, base)
    tree = with_section(tree, "model", {"path": request.model})
    tree["sources"] = {**tree["sources"], **texts}
    if request.calibration is not None:
        rows_of = {source: source if request.mix else None for source in ratios}
        tree["sources"] = {
            source: {"kind": "tokens", "path": str(request.calibration), "source": rows}
            for source, rows in rows_of.items()
        }
    tree["mixes"] = {mix: ratios}
    tree["run"] = {
        "sources": list(ratios),
        "mixes": [mix],
        "one_shot": [name for name, sequential in wanted.items() if not sequential],
        "sequential": [name for name, sequential in wanted.items() if sequential],
        "experts": list(sizes or [request.experts]),
        "rank": [mix],
    }
    tree["rank"] = {"sequences": 0}  # nothing is held out: only the graph measures ranks
    tree["exports"] = {}
    tree["grouping"] = {"group_size": _group_size(request, base, request.experts)}
    if len(sizes) > 1 and request.group_size is None:
        tree["grouping"] = {"group_size": {size: _group_size(request, base, size) for size in sizes}}
    if request.calibration is not None and request.mix is None:  # pooled: all sequences are used
        from ream.calibration.corpus import read_corpus

        tree = with_section(tree, "calibration", {"sequences": len(read_corpus(request.calibration).sequences)})
    return parse_params(tree, f"{params_path} with the options given"), mix


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


def _group_size(request: Request, base: "Params", experts: int) -> int:
    """C as given, or of the params file for a number of experts."""
    if request.group_size is not None:
        return request.group_size
    table = base.grouping.group_size
    return table if isinstance(table, int) else table.get(experts, DEFAULT_GROUP_SIZE)
