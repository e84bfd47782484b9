"""Stage statistics: sources go through the original, one or several at once; kept are every layer's sums and probes."""

import operator
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream import __version__
from ream.calibration.corpus import read_corpus
from ream.calibration.packing import pad
from ream.errors import UserError
from ream.machine.files import building, file_digest, read_json, replacing, write_json
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.original import Original, open_original
from ream.workspace.rank_parts import check_batches, discard_parts, on_own_device, parts_of

if TYPE_CHECKING:
    import numpy as np

    from ream.walk.batches import Batches
    from ream.walk.probes import Probes
    from ream.walk.ranks import Ranks
    from ream.walk.share import Share
    from ream.walk.state import WalkState


def run(
    params: Params,
    workspace: Workspace,
    source: str,
    shard: int | None = None,
    shards: int | None = None,
    discard_stale: bool = True,
    ranks: "Ranks | None" = None,
) -> str:
    """Collect the statistics of a source; goes on where a killed run stood.

    With ``shard`` and ``shards``, only that part of its sequences (several processes, several machines with one
    workspace): the sums stay in the workspace's state until a run without shards finds all of them and adds them up
    instead of walking. With ``ranks``, see `run_all`.

    Raises:
        UserError: shards of a rank; see `open_original`, `read_corpus`, `Decoder`, `Batches.shard`.
    """
    from ream.walk.probes import Probes

    if shard is None or shards is None:
        return run_all(params, workspace, [source], discard_stale, ranks)[0]
    if ranks is not None:
        raise UserError("--shard and --shards are for processes started one by one; under torchrun leave them out")
    original = open_original(workspace, params.model.keep_shards)
    data, facts = _tokens(params, workspace, original, source)
    if _finished(workspace, source, facts):
        return _told(source, facts, original)
    rows, desc = data.shard(shard, shards), f"statistics {source} {shard}/{shards}"
    folder, identity = _shard(workspace, source, facts, shard, shards)
    with _state(params, folder, identity, facts, discard_stale) as state:
        probes = Probes(data, facts["probes"], facts["seed"], rows)
        part = data.part(rows)
        _collect(params, original, [(part, probes, state)], desc)
    return f"{desc}: {int(part.mask.sum()):,} of {facts['tokens']:,} tokens"


def run_all(
    params: Params,
    workspace: Workspace,
    sources: Sequence[str],
    discard_stale: bool = True,
    ranks: "Ranks | None" = None,
) -> list[str]:
    """Collect the statistics of several sources in one walk, which reads each layer's weights once for all of them.

    What is kept, and what a killed run goes on from, are the same as of a walk for each. The limit of hidden states
    in memory is for all sources together.

    Args:
        ranks: of torchrun: all of them call this, and leave each other when it is done (`run_ranks`).

    Raises:
        UserError: as `run`.
    """
    from ream.walk.probes import Probes

    if ranks is not None:
        return run_ranks(params, workspace, sources, discard_stale, ranks)
    original = open_original(workspace, params.model.keep_shards)
    lines, walked = _unfinished(params, workspace, original, sources)
    for source, (data, facts) in list(walked.items()):
        if count := _complete(workspace, source, facts, original.architecture.depth):
            _add_up_all(workspace, source, data, facts, original.architecture.moe_layers, count)
            lines[source] += f", from {count} shards"
            del walked[source]
    with ExitStack() as opened:
        states = {
            source: opened.enter_context(
                _state(
                    params,
                    workspace.state("statistics", source),
                    _identity(facts),
                    facts,
                    discard_stale,
                    share=len(walked),
                )
            )
            for source, (_, facts) in walked.items()
        }
        if walked:
            passes = [
                (data, Probes(data, facts["probes"], facts["seed"]), states[source])
                for source, (data, facts) in walked.items()
            ]
            _collect(params, original, passes, f"statistics {' '.join(walked)}")
        for source, (_, facts) in walked.items():
            _keep(workspace, source, facts, original.architecture.moe_layers, states[source].folder)
            states[source].clear()
    return [lines[source] for source in sources]


def run_ranks(
    params: Params, workspace: Workspace, sources: Sequence[str], discard_stale: bool, ranks: "Ranks"
) -> list[str]:
    """`run_all` as one of several ranks, each with its own part of every source's micro-batches and its own state.

    What is kept are the sums over all ranks: those of one process within the rounding of float64; the probes are the
    same. Kills: see `parts_of`.

    Raises:
        UserError: as `run`, on any rank; there are more ranks than micro-batches.
    """
    original = open_original(workspace, params.model.keep_shards)
    params = on_own_device(params, ranks)
    lines, walked = _unfinished(params, workspace, original, sources)
    for source, (data, _) in walked.items():
        check_batches(f"source {source}", data, ranks)
    names = {source: f"statistics-{source}" for source in walked}
    walks = {names[source]: each for source, each in walked.items()}
    with parts_of(params, workspace, walks, discard_stale, ranks) as parts:
        due = [part for part in parts.values() if part.share.ahead < original.architecture.depth]
        if due:  # else killed after the last layer: all there is to walk for are totals
            passes, shares = [part[:3] for part in due], [part.share for part in due]
            _collect(params, original, passes, f"statistics {' '.join(walked)}, rank 0 of {ranks.size}", shares)
    if ranks.first:
        for source, (_, facts) in walked.items():
            committed = parts[names[source]].share.committed
            _keep(workspace, source, facts, original.architecture.moe_layers, committed)
            discard_parts(workspace, names[source])
    ranks.leave()
    return [lines[source] for source in sources]


def _unfinished(
    params: Params, workspace: Workspace, original: Original, sources: Sequence[str]
) -> tuple[dict[str, str], dict[str, tuple["Batches", dict[str, Any]]]]:
    """Of each source a line that tells its result; and `_tokens` of those that there is none of yet."""
    lines, walked = {}, {}
    for source in sources:
        data, facts = _tokens(params, workspace, original, source)
        lines[source] = _told(source, facts, original)
        if not _finished(workspace, source, facts):
            walked[source] = data, facts
    return lines, walked


def _tokens(params: Params, workspace: Workspace, original: Original, source: str) -> tuple["Batches", dict[str, Any]]:
    """The tokens of a source, and all that its statistics depend on."""
    from ream.models.runtime import runtime
    from ream.walk.batches import batches, check_ids

    device, dtype = runtime(*params.compute.placement)
    ids, mask = pad(read_corpus(workspace.calibration(source)).sequences, pad_id=0)
    check_ids(ids, original.vocabulary)
    return batches(ids, mask, params.compute.batch_tokens), {
        "model": original.manifest.digest,
        "source": source,
        "corpus": file_digest(workspace.calibration(source)),
        "tokens": int(mask.sum()),
        "sequences": len(ids),
        "probes": params.statistics.probes,
        "seed": params.calibration.seed,
        "device": device.type,
        "dtype": str(dtype),
        "threads": params.compute.threads,
        "batch_tokens": params.compute.batch_tokens,
        "ream": __version__,
    }


def _keep(workspace: Workspace, source: str, facts: dict[str, Any], layers: Iterable[int], state: Path) -> None:
    """Leave a source's statistics as they are in a finished walk's folder."""
    from ream.compress.statistics_file import layer_file

    with building(workspace.statistics(source)) as folder:
        for index in layers:  # copied: were they moved, a run killed before the last would lack them
            shutil.copyfile(layer_file(state, index), layer_file(folder, index))
        write_json(folder / "facts.json", facts)


def _finished(workspace: Workspace, source: str, facts: dict[str, Any]) -> bool:
    path = workspace.statistics(source) / "facts.json"
    return path.exists() and bool(read_json(path) == facts)


def _told(source: str, facts: dict[str, Any], original: Original) -> str:
    return f"statistics of {source}: {facts['tokens']:,} tokens, {len(original.architecture.moe_layers)} layers"


def _identity(facts: dict[str, Any]) -> str:
    from ream.walk.state import fingerprint

    return fingerprint(facts)


def _state(
    params: Params, folder: Path, identity: str, facts: dict[str, Any], discard_stale: bool, share: int = 1
) -> "WalkState":
    """The state of a walk that is one of ``share`` to share the memory for hidden states."""
    from ream.walk.state import WalkState

    return WalkState(folder, identity, discard_stale, facts, params.compute.hidden_memory / share)


def _collect(
    params: Params,
    original: Original,
    passes: Sequence[tuple["Batches", "Probes", "WalkState"]],
    desc: str,
    shares: "Sequence[Share] | None" = None,
) -> None:
    from ream.compress.one_shot import collect_all
    from ream.models.decoder import Decoder
    from ream.models.runtime import runtime

    device, dtype = runtime(*params.compute.placement)
    decoder = Decoder(original.checkpoint, original.architecture, device, dtype, params.model.trust_remote_code)
    depth = original.architecture.depth
    steps, tokens = sum(len(data) for data, _, _ in passes), sum(int(data.mask.sum()) for data, _, _ in passes)
    silent = shares is not None and not shares[0].ranks.first  # the first rank's share goes for all
    with Progress(steps * depth, desc, "batch", depth, tokens, silent=silent) as bar:
        collect_all(decoder, passes, bar, shares)


def _shard(workspace: Workspace, source: str, facts: dict[str, Any], shard: int, shards: int) -> tuple[Path, str]:
    """Where a shard's walk keeps its state, and the identity of that."""
    folder = workspace.state("statistics", source, "shard", str(shard), "of", str(shards))
    return folder, _identity(facts | {"shard": shard, "shards": shards})


def _complete(workspace: Workspace, source: str, facts: dict[str, Any], depth: int) -> int:
    """Into how many shards the source has been split that have all been walked with these facts; 0 for none."""
    for first in sorted(workspace.states.glob(f"statistics-{source}-shard-0-of-*")):
        shards = int(first.name.rpartition("-")[2])
        found = 0
        for shard in range(shards):
            folder, identity = _shard(workspace, source, facts, shard, shards)
            progress = read_json(folder / "progress.json") if (folder / "progress.json").exists() else {}
            found += (progress.get("identity"), progress.get("next_layer")) == (identity, depth)
        if found == shards:
            return shards
    return 0


def _add_up_all(
    workspace: Workspace, source: str, data: "Batches", facts: dict[str, Any], layers: Iterable[int], shards: int
) -> None:
    """Leave a source's statistics as the sums over its shards, whose states go."""
    from ream.walk.probes import Probes
    from ream.walk.state import discard

    folders = [_shard(workspace, source, facts, number, shards)[0] for number in range(shards)]
    parts = [data.shard(number, shards) for number in range(shards)]
    orders = [Probes(data, facts["probes"], facts["seed"], rows).order for rows in parts]
    with building(workspace.statistics(source)) as folder:
        for index in layers:
            add_up(folders, orders, index, folder)
        write_json(folder / "facts.json", facts)
    for shard_folder in folders:
        discard(shard_folder)


def add_up(folders: Sequence[Path], orders: Sequence["np.ndarray"], index: int, out: Path) -> None:
    """Write a layer's statistics as the sum over shards.

    Args:
        folders: of the shards' states.
        orders: of each shard, which of all probes are its own.
        index: of the layer.
        out: folder for the layer's file.
    """
    import torch
    from safetensors.torch import save_file

    from ream.compress.one_shot import read_probes
    from ream.compress.statistics_file import layer_file, read_sums

    total = reduce(operator.add, (read_sums(folder, index) for folder in folders))
    parts = [read_probes(folder, index) for folder in folders]
    probes = torch.empty(sum(map(len, parts)), parts[0].shape[1], dtype=parts[0].dtype)
    for part, order in zip(parts, orders, strict=True):
        probes[torch.from_numpy(order)] = part
    sums = {name: torch.from_numpy(array) for name, array in total.arrays().items()}
    with replacing(layer_file(out, index)) as temporary:
        save_file({**sums, "probes": probes}, temporary)
