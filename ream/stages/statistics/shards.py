"""Statistics in shards: parts of a source's micro-batches that separate processes or machines walk.

The sums of a shard stay in the workspace's state until a run without shards finds all of them and adds them up.
"""

import operator
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.machine.files import building, read_json, replacing, write_json
from ream.models.family.architecture import Architecture
from ream.params import Params
from ream.stages.statistics.sources import SourceTokens, is_finished, measured, read_tokens, share_of, summary
from ream.stages.statistics.walking import collect, open_state, with_code
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original

if TYPE_CHECKING:
    import numpy as np


def run_shard(params: Params, workspace: Workspace, options: StageOptions, shard: int, shards: int) -> str:
    """Walk one shard of a source, unless the statistics of the whole source are finished.

    Raises:
        UserError: no such shard (see `Batches.shard`).
    """
    from ream.walk.probes import probes_of

    original = open_original(workspace, params.model.keep_shards)
    quantities = measured(params, workspace, options)
    share = share_of(workspace, options.source, options)
    data, facts = read_tokens(params, workspace, original, options.source, quantities, share)
    if is_finished(workspace, options.source, facts):
        return summary(options.source, facts, original)
    rows, title = data.shard(shard, shards), f"statistics {options.source} {shard}/{shards}"
    folder = _folder(workspace, options.source, shard, shards)
    with open_state(params, folder, _shard_facts(facts, shard, shards), options) as state:
        probes, part = probes_of(data, facts, rows), data.part(rows)
        collect(params, original, [(part, probes, state)], title, needs=quantities)
    return f"{title}: {int(part.mask.sum()):,} of {facts['tokens']:,} tokens"


def sum_shards(
    workspace: Workspace, source: str, tokens: SourceTokens, architecture: Architecture, options: StageOptions
) -> int:
    """Write the statistics of a source as the sum of its shards, if all of them have been walked, and discard these.

    Returns:
        The number of shards; 0 if there are not all of them.
    """
    from ream.walk.probes import probes_of
    from ream.walk.state import discard

    data, facts = tokens
    shards = _complete(workspace, source, with_code(facts, options), architecture.depth)
    if not shards:
        return 0
    folders = [_folder(workspace, source, shard, shards) for shard in range(shards)]
    parts = [data.shard(shard, shards) for shard in range(shards)]
    orders = [probes_of(data, facts, rows).order for rows in parts]
    with building(workspace.statistics(source)) as folder:
        for index in architecture.moe_layers:
            _add_up(folders, orders, index, folder)
        write_json(folder / "facts.json", facts)
    for shard_folder in folders:
        discard(shard_folder)
    return shards


def _folder(workspace: Workspace, source: str, shard: int, shards: int) -> Path:
    return workspace.state("statistics", source, "shard", str(shard), "of", str(shards))


def _shard_facts(facts: dict[str, Any], shard: int, shards: int) -> dict[str, Any]:
    return facts | {"shard": shard, "shards": shards}


def _complete(workspace: Workspace, source: str, facts: dict[str, Any], depth: int) -> int:
    """The number of shards, where all shards of a source have been walked with these facts and code; otherwise 0."""
    from ream.walk.state import fingerprint

    for first in sorted(workspace.states.glob(f"statistics-{source}-shard-0-of-*")):
        shards = int(first.name.rpartition("-")[2])
        walked = 0
        for shard in range(shards):
            path = _folder(workspace, source, shard, shards) / "progress.json"
            progress = read_json(path) if path.exists() else {}
            identity = fingerprint(_shard_facts(facts, shard, shards))
            walked += (progress.get("identity"), progress.get("next_layer")) == (identity, depth)
        if walked == shards:
            return shards
    return 0


def _add_up(folders: Sequence[Path], orders: Sequence["np.ndarray"], index: int, out: Path) -> None:
    """Write the statistics of a layer as the sum over shards.

    Args:
        folders: states of the shards.
        orders: for each shard, the positions of its probes among all probes of the source.
        index: of the layer.
        out: folder for the file of the layer.
    """
    import torch
    from safetensors.torch import save_file

    from ream.compress.one_shot import read_probes
    from ream.compress.statistics_file import read_sums
    from ream.walk.layer_file import layer_file

    total = reduce(operator.add, (read_sums(folder, index) for folder in folders))
    parts = [read_probes(folder, index) for folder in folders]
    probes = torch.empty(sum(map(len, parts)), parts[0].shape[1], dtype=parts[0].dtype)
    for part, order in zip(parts, orders, strict=True):
        probes[torch.from_numpy(order)] = part
    sums = {name: torch.from_numpy(array) for name, array in total.arrays().items()}
    with replacing(layer_file(out, index)) as temporary:
        save_file({**sums, "probes": probes}, temporary)
