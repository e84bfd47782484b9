"""The parts of a walk that the ranks of a torchrun take, and what cannot run distributed."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ream.errors import UserError
from ream.params import Params
from ream.workspace.layout import Workspace

if TYPE_CHECKING:
    from ream.walk.batches import Batches
    from ream.walk.probes import Probes
    from ream.walk.ranks import Ranks
    from ream.walk.share import Share
    from ream.walk.state import WalkState


def check_shared(params: Params) -> None:
    """Refuse what cannot run distributed.

    Raises:
        UserError: shards are removed after use.
    """
    if not params.model.keep_shards and not Path(params.model.path).is_dir():
        raise UserError(
            "shards that are removed after use would be missing on other ranks; set model.keep_shards to true "
            "(--keep-shards), or run without torchrun"
        )


def check_batches(what: str, data: "Batches", ranks: "Ranks") -> None:
    """Refuse more ranks than there are micro-batches.

    Args:
        what: the source or mix, for the error.
        data: its tokens.
        ranks: of torchrun.

    Raises:
        UserError: there are more ranks than micro-batches.
    """
    if ranks.size > len(data):
        raise UserError(
            f"{ranks.size} ranks, but {what} has {len(data)} micro-batches; start at most {len(data)} ranks, "
            "or lower compute.batch_tokens for more micro-batches"
        )


def on_own_device(params: Params, ranks: "Ranks") -> Params:
    """The settings with the device of this rank as ``compute.device`` (`Ranks.placed`).

    Raises:
        UserError: ``compute.device`` names one GPU, or there are fewer GPUs than ranks.
    """
    compute = params.compute
    device = ranks.placed(compute.device, compute.threads)
    return params.model_copy(update={"compute": compute.model_copy(update={"device": device})})


class Part(NamedTuple):
    """One rank's part of a walk.

    Attributes:
        data: the tokens of this rank.
        probes: the probe tokens among them.
        state: of this rank's walk.
        share: how the totals of this rank become those of all ranks.
    """

    data: "Batches"
    probes: "Probes"
    state: "WalkState"
    share: "Share"


@contextmanager
def parts_of(
    params: Params,
    workspace: Workspace,
    walks: Mapping[str, tuple["Batches", dict[str, Any]]],
    discard_stale: bool,
    ranks: "Ranks",
) -> Iterator[dict[str, Part]]:
    """This rank's part of every walk; the block takes them through the layers and exits when all ranks have done so.

    After a kill, ranks may stand a layer apart. A rank that is behind reads the results of that layer from a rank that
    is ahead, and only takes its own tokens through the layer. Once a rank has finished the last layer
    (``share.ahead``), no walk is needed. When the block exits, ``share.committed`` has all layers.

    Args:
        params: all settings, with the device of this rank (`on_own_device`).
        workspace: of all ranks.
        walks: name of each walk's state to the tokens of all ranks and everything that its results depend on.
        discard_stale: see `StageOptions`.
        ranks: of torchrun.

    Yields:
        Name of each walk's state to this rank's part.

    Raises:
        UserError: the error of any rank.
    """
    from ream.walk.probes import probes_of
    from ream.walk.share import Share
    from ream.walk.state import WalkState, fingerprint

    memory = params.compute.hidden_memory / (ranks.local_size * max(1, len(walks)))
    with ExitStack() as opened:
        states = {}
        for name, (_, facts) in walks.items():
            depends = facts | {"ranks": ranks.size, "rank": ranks.rank}
            folder = workspace.state(name, "rank", str(ranks.rank))
            state = WalkState(folder, fingerprint(depends), discard_stale, depends, memory)
            states[name] = opened.enter_context(state)
        next_layers = ranks.meet("states", {name: state.next_layer for name, state in states.items()})
        parts = {}
        for name, (data, facts) in walks.items():
            furthest = max(range(ranks.size), key=lambda rank: next_layers[rank][name])
            rows = data.shard(ranks.rank, ranks.size)
            probes = probes_of(data, facts, rows)
            ahead, committed = next_layers[furthest][name], workspace.state(name, "rank", str(furthest))
            parts[name] = Part(
                data.part(rows), probes, states[name], Share(ranks, probes.order, ahead, committed, rows, len(data.ids))
            )
        yield parts
        ranks.meet("walked")


def discard_parts(workspace: Workspace, name: str) -> None:
    """Remove the states of a walk by all ranks, including those of an earlier run with more ranks."""
    from ream.walk.state import discard

    for folder in workspace.states.glob(f"{name}-rank-*"):
        discard(folder)
