"""Stage statistics: one pass of the original over one source, kept as sums and probe inputs of every layer."""

import operator
import shutil
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream import __version__
from ream.calibration.corpus import read_corpus
from ream.calibration.packing import pad
from ream.files import building, file_digest, read_json, replacing, write_json
from ream.params import Params
from ream.progress import Progress
from ream.stages.original import open_original
from ream.stages.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np


def run(
    params: Params,
    workspace: Workspace,
    source: str,
    shard: int | None = None,
    shards: int | None = None,
    discard_stale: bool = True,
) -> str:
    """Collect the statistics of a source; goes on where a killed run stood.

    With ``shard`` and ``shards``, only that part of its sequences (several processes, several machines with one
    workspace): the sums stay in the workspace's state until a run without shards finds all of them and adds them up
    instead of walking.

    Raises:
        UserError: see `open_original`, `read_corpus`, `Decoder`, `Batches.shard`.
    """
    from ream.compress.one_shot import collect
    from ream.compress.state import WalkState, discard, fingerprint
    from ream.compress.walk import Probes, batches, check_ids
    from ream.models.decoder import Decoder, runtime

    original = open_original(workspace, params.model.keep_shards)
    device, dtype = runtime(params.compute)
    ids, mask = pad(read_corpus(workspace.calibration(source)).sequences, pad_id=0)
    check_ids(ids, original.vocabulary)
    data = batches(ids, mask, params.compute.batch_tokens)
    facts: dict[str, Any] = {
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
    out, layers = workspace.statistics(source), original.architecture.moe_layers
    done = f"statistics of {source}: {facts['tokens']:,} tokens, {len(layers)} layers"
    if (out / "facts.json").exists() and read_json(out / "facts.json") == facts:
        return done
    rows, desc, identity = slice(None), f"statistics {source}", fingerprint(facts)
    state_folder = workspace.state("statistics", source)
    if shard is not None and shards is not None:
        rows, desc = data.shard(shard, shards), f"{desc} {shard}/{shards}"
        state_folder, identity = _shard(workspace, source, facts, shard, shards)
    else:
        count = _complete(workspace, source, facts, original.architecture.depth)
        if count:
            folders = [_shard(workspace, source, facts, number, count)[0] for number in range(count)]
            orders = [Probes(data, facts["probes"], facts["seed"], data.shard(i, count)).order for i in range(count)]
            with building(out) as folder:
                for index in layers:
                    add_up(folders, orders, index, folder)
                write_json(folder / "facts.json", facts)
            for shard_folder in folders:
                discard(shard_folder)
            return f"{done}, from {count} shards"
    with WalkState(state_folder, identity, discard_stale, facts, params.compute.hidden_memory) as state:
        decoder = Decoder(original.checkpoint, original.architecture, device, dtype, params.model.trust_remote_code)
        probes = Probes(data, params.statistics.probes, params.calibration.seed, rows)
        part, depth = data.part(rows), original.architecture.depth
        with Progress(len(part) * depth, desc, "batch", depth, int(part.mask.sum())) as bar:
            collect(decoder, part, probes, state, bar)
        if shard is not None:
            return f"{desc}: {int(part.mask.sum()):,} of {facts['tokens']:,} tokens"
        with building(out) as folder:
            for index in layers:
                path = state.layer_path(index)
                shutil.copyfile(path, folder / path.name)  # moved, they would be gone for a run killed before the last
            write_json(folder / "facts.json", facts)
        state.clear()
    return done


def _shard(workspace: Workspace, source: str, facts: dict[str, Any], shard: int, shards: int) -> tuple[Path, str]:
    """Where a shard's walk keeps its state, and the identity of that."""
    from ream.compress.state import fingerprint

    folder = workspace.state("statistics", source, "shard", str(shard), "of", str(shards))
    return folder, fingerprint(facts | {"shard": shard, "shards": shards})


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
