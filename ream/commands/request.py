"""What the command line asks for, as one checked tree of settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ream.commands.configuring import configured, with_section
from ream.commands.mixes import asked_mix
from ream.commands.texts import text_sources
from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params import Params

DEFAULT_GROUP_SIZE = 16
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


def _group_size(request: Request, base: "Params", experts: int) -> int:
    """C as given, or of the params file for a number of experts."""
    if request.group_size is not None:
        return request.group_size
    table = base.grouping.group_size
    return table if isinstance(table, int) else table.get(experts, DEFAULT_GROUP_SIZE)
