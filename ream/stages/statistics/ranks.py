"""Statistics by the ranks of a torchrun, each of which walks its own part of every source's micro-batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ream.params import Params
from ream.stages.statistics.sources import measured, share_of, store, unfinished
from ream.stages.statistics.walking import collect, with_code
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original
from ream.workspace.rank_parts import check_batches, discard_parts, on_own_device, parts_of

if TYPE_CHECKING:
    from ream.walk.ranks import Ranks


def run_ranks(
    params: Params, workspace: Workspace, sources: Sequence[str], options: StageOptions, ranks: "Ranks"
) -> list[str]:
    """Collect the statistics of several sources; every rank calls this, and all leave each other at the end.

    The sums are those of one process up to the rounding of float64; the probes are equal. `parts_of` says how a killed
    run goes on.

    Raises:
        UserError: as `ream.stages.statistics.run`, on any rank; there are more ranks than micro-batches.
    """
    original = open_original(workspace, params.model.keep_shards)
    params = on_own_device(params, ranks)
    quantities = measured(params, workspace, options)
    sequences = {source: share_of(workspace, source, options) for source in sources}
    lines, walked = unfinished(params, workspace, original, quantities, sequences, alone=False)
    for source, tokens in walked.items():
        check_batches(f"source {source}", tokens.data, ranks)
    names = {source: f"statistics-{source}" for source in walked}
    walks = {names[source]: (data, with_code(facts, options)) for source, (data, facts) in walked.items()}
    with parts_of(params, workspace, walks, options.discard_stale, ranks) as parts:
        due = [part for part in parts.values() if part.share.ahead < original.architecture.depth]
        if due:  # else the ranks were killed after the last layer, and its totals are on disk
            passes, shares = [part[:3] for part in due], [part.share for part in due]
            title = f"statistics {' '.join(walked)}, rank 0 of {ranks.size}"
            collect(params, original, passes, title, shares, quantities)
    if ranks.first:
        for source, (_, facts) in walked.items():
            committed = parts[names[source]].share.committed
            store(workspace, source, facts, original.architecture.moe_layers, committed)
            discard_parts(workspace, names[source])
    ranks.leave()
    return [lines[source] for source in sources]
