"""The tokens of a source, everything its statistics depend on, and its finished statistics."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ream import __version__
from ream.calibration.corpus import read_corpus
from ream.calibration.packing import pad
from ream.core.composition import Quantity, needs
from ream.machine.files import building, file_digest, read_json, write_json
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.needs import read_needs, sample_facts
from ream.workspace.options import StageOptions
from ream.workspace.original import Original
from ream.workspace.shares import read_share

if TYPE_CHECKING:
    from ream.walk.batches import Batches


class SourceTokens(NamedTuple):
    """The tokens of a source in micro-batches, and everything that its statistics depend on."""

    data: "Batches"
    facts: dict[str, Any]


def measured(params: Params, workspace: Workspace, options: StageOptions) -> frozenset[Quantity]:
    """What the statistics consist of beside counts: what the command's method needs or, in the graph, all of a run's.

    Raises:
        UserError: the graph has not said what its methods need.
    """
    if options.method:
        return needs(params.method(options.method).composition())
    return read_needs(workspace)


def share_of(workspace: Workspace, source: str, options: StageOptions) -> int | None:
    """The number of a source's sequences that are measured; None for all that are drawn.

    A command draws what its mix needs. The graph's sources serve many mixes (`ream.workspace.shares`).

    Raises:
        UserError: the graph has not said how many sequences its mixes need.
    """
    return None if options.method else read_share(workspace, source)


def read_tokens(
    params: Params,
    workspace: Workspace,
    original: Original,
    source: str,
    quantities: frozenset[Quantity],
    share: int | None,
    alone: bool = True,
) -> SourceTokens:
    """The tokens of a source, and everything that its statistics depend on.

    Args:
        params: all settings.
        workspace: with the calibration sequences.
        original: the model.
        source: its name.
        quantities: what is measured beside counts.
        share: the number of sequences that are measured, the first ones; None for all. Own tokens are taken as they
            are, all of them.
        alone: whether this process sees all of the tokens.

    Raises:
        UserError: the calibration sequences are missing, or see `check_inputs`.
    """
    from ream.models.runtime import runtime
    from ream.walk.batches import batches, check_inputs

    device, dtype = runtime(*params.compute.placement)
    corpus = read_corpus(workspace.calibration(source))
    own = corpus.facts.get("source", {}).get("kind") == "tokens"
    limited = share is not None and share < len(corpus.sequences) and not own
    ids, mask = pad(corpus.sequences[:share] if limited else corpus.sequences, pad_id=0)
    check_inputs(ids, mask, original.limits, original.architecture.multi_token)
    tokens = int(mask.sum())
    facts = {
        "model": original.manifest.digest,
        "source": source,
        "corpus": file_digest(workspace.calibration(source)),
        "tokens": tokens,
        "sequences": len(ids),
        "probes": params.statistics.probes if "probes" in quantities else 0,
        "seed": params.calibration.seed,
        "device": device.type,
        "dtype": str(dtype),
        "threads": params.compute.threads,
        "batch_tokens": params.compute.batch_tokens,
        "ream": __version__,
    }
    facts["measured"] = sorted(quantities)
    facts |= {"share": share} if limited else {}
    facts |= sample_facts(params, quantities, tokens, alone)
    return SourceTokens(batches(ids, mask, params.compute.batch_tokens), facts)


def unfinished(
    params: Params,
    workspace: Workspace,
    original: Original,
    quantities: frozenset[Quantity],
    shares: Mapping[str, int | None],
    alone: bool = True,
) -> tuple[dict[str, str], dict[str, SourceTokens]]:
    """A line about the statistics of every source, and the tokens of the sources whose statistics are not finished."""
    lines, walked = {}, {}
    for source, share in shares.items():
        tokens = read_tokens(params, workspace, original, source, quantities, share, alone)
        lines[source] = summary(source, tokens.facts, original)
        if not is_finished(workspace, source, tokens.facts):
            walked[source] = tokens
    return lines, walked


def is_finished(workspace: Workspace, source: str, facts: dict[str, Any]) -> bool:
    """Whether the statistics of a source have been collected with these facts."""
    path = workspace.statistics(source) / "facts.json"
    return path.exists() and bool(read_json(path) == facts)


def summary(source: str, facts: dict[str, Any], original: Original) -> str:
    """One line about the finished statistics of a source."""
    return f"statistics of {source}: {facts['tokens']:,} tokens, {len(original.architecture.moe_layers)} layers"


def store(workspace: Workspace, source: str, facts: dict[str, Any], layers: Iterable[int], state: Path) -> None:
    """Write the statistics of a source from the folder of a finished walk's state."""
    from ream.walk.layer_file import layer_file

    with building(workspace.statistics(source)) as folder:
        for index in layers:  # copied, not moved: a run killed before the last layer finds all of them again
            shutil.copyfile(layer_file(state, index), layer_file(folder, index))
        write_json(folder / "facts.json", facts)
