"""What several ranks (torchrun) do of a walk and of `ream compress`, and what they refuse."""

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


def check_shared(params: Params, method: str | None = None) -> None:
    """Refuse what can't be shared out over ranks.

    Args:
        params: all settings. method: the name of the one that is asked for; None where only statistics are.

    Raises:
        UserError: a method with a refit, or that chooses neurons; or shards that go after use.
    """
    composition = None if method is None else params.method(method)
    if composition is not None and (composition.refit is not None or composition.merging == "neurons"):
        what = "has a refit" if composition.refit is not None else "has merging: neurons"
        raise UserError(
            f"method '{method}' {what}, which takes all tokens through each layer several times; that is not shared "
            "out over ranks: run it without torchrun"
        )
    if not params.model.keep_shards and not Path(params.model.path).is_dir():
        raise UserError(
            "shards that are removed after use would be missing to other ranks; set model.keep_shards (--keep-shards), "
            "or run without torchrun"
        )


def check_batches(what: str, data: "Batches", ranks: "Ranks") -> None:
    """Refuse to share out what does not give every rank a micro-batch.

    Args:
        what: has these tokens. data: all of them.

    Raises:
        UserError: more ranks than micro-batches.
    """
    if ranks.size > len(data):
        raise UserError(
            f"{ranks.size} ranks, but {what} has {len(data)} micro-batches to share out; start at most as many ranks, "
            "or lower compute.batch_tokens for more micro-batches"
        )


def on_own_device(params: Params, ranks: "Ranks") -> Params:
    """The settings for one rank, whose ``compute.device`` is the rank's own (`Ranks.placed`).

    Raises:
        UserError: a certain GPU is asked for, or there are fewer GPUs than ranks.
    """
    compute = params.compute
    device = ranks.placed(compute.device, compute.threads)
    return params.model_copy(update={"compute": compute.model_copy(update={"device": device})})


class Part(NamedTuple):
    """One rank's part of a walk.

    Attributes:
        data: its tokens. probes: those among them. state: its own.
        share: how what it finds becomes that of all ranks.
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
    """This rank's parts of walks, for a block that takes them through the layers; it ends when all ranks have done so.

    After a kill, ranks may stand a layer apart. Those behind take what is kept of that layer from one ahead, and only
    take their own tokens through it. Where one has finished the last layer (``share.ahead``), nothing is left to walk
    for. At the end ``share.committed`` has all layers.

    Args:
        params: with `Ranks.placed`.
        walks: name of its state to all its tokens and all that its results depend on.
        discard_stale: start anew where a run with other settings was interrupted; else refuse.

    Raises:
        UserError: of any rank.
    """
    from ream.walk.probes import Probes
    from ream.walk.share import Share
    from ream.walk.state import WalkState, fingerprint

    memory = params.compute.hidden_memory / (ranks.local_size * max(1, len(walks)))
    with ExitStack() as opened:
        states = {}
        for name, (_, facts) in walks.items():
            own = facts | {"ranks": ranks.size, "rank": ranks.rank}
            folder = workspace.state(name, "rank", str(ranks.rank))
            states[name] = opened.enter_context(WalkState(folder, fingerprint(own), discard_stale, own, memory))
        standing = ranks.meet("states", {name: state.next_layer for name, state in states.items()})
        parts = {}
        for name, (data, _) in walks.items():
            first = max(range(ranks.size), key=lambda rank: standing[rank][name])
            rows = data.shard(ranks.rank, ranks.size)
            probes = Probes(data, params.statistics.probes, params.calibration.seed, rows)
            ahead, committed = standing[first][name], workspace.state(name, "rank", str(first))
            parts[name] = Part(data.part(rows), probes, states[name], Share(ranks, probes.order, ahead, committed))
        yield parts
        ranks.meet("walked")


def discard_parts(workspace: Workspace, name: str) -> None:
    """Remove the states of a walk of all ranks, also of more ranks than there are now."""
    from ream.walk.state import discard

    for folder in workspace.states.glob(f"{name}-rank-*"):
        discard(folder)
