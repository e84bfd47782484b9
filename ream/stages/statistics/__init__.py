"""Stage statistics: the sums and probes of every MoE layer of the original, for each source by itself."""

from collections.abc import Sequence
from contextlib import ExitStack

from ream.params import Params
from ream.stages.statistics.ranks import run_ranks
from ream.stages.statistics.shards import run_shard, sum_shards
from ream.stages.statistics.sources import measured, share_of, store, unfinished
from ream.stages.statistics.walking import collect, open_state
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Collect the statistics of one source, or of a part of it where ``options.shard`` says so.

    A killed run goes on where it stood.

    Raises:
        UserError: see `open_original`, `read_corpus`, `Decoder`, `Batches.shard`.
    """
    if options.shard is not None and options.shards is not None:
        return run_shard(params, workspace, options, options.shard, options.shards)
    return run_sources(params, workspace, [options.source], options)[0]


def run_sources(params: Params, workspace: Workspace, sources: Sequence[str], options: StageOptions) -> list[str]:
    """Collect the statistics of several sources in one walk, which reads the weights of each layer once.

    The files are those that separate walks write, and a killed run goes on as they do. The sources share the memory
    for hidden states. A source whose shards have all been walked is summed instead of walked.

    Args:
        params: all settings.
        workspace: with the manifest and the calibration sequences.
        sources: names of sources.
        options: with ``ranks``, see `run_ranks`.

    Returns:
        One line for each source.

    Raises:
        UserError: as `run`.
    """
    from ream.walk.probes import probes_of

    if options.ranks is not None:
        return run_ranks(params, workspace, sources, options, options.ranks)
    original = open_original(workspace, params.model.keep_shards)
    quantities = measured(params, workspace, options)
    shares = {source: share_of(workspace, source, options) for source in sources}
    lines, walked = unfinished(params, workspace, original, quantities, shares)
    for source in list(walked):
        if count := sum_shards(workspace, source, walked[source], original.architecture, options):
            lines[source] += f", from {count} shards"
            del walked[source]
    with ExitStack() as opened:
        passes = {}
        for source, tokens in walked.items():
            folder = workspace.state("statistics", source)
            state = opened.enter_context(open_state(params, folder, tokens.facts, options, walks=len(walked)))
            passes[source] = tokens.data, probes_of(tokens.data, tokens.facts), state
        if walked:
            title = f"statistics {' '.join(walked)}"
            collect(params, original, list(passes.values()), title, needs=quantities)
        for source, (_, _, state) in passes.items():
            store(workspace, source, walked[source].facts, original.architecture.moe_layers, state.folder)
            state.clear()
    return [lines[source] for source in sources]
