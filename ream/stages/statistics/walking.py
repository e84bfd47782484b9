"""One walk of the original that collects the statistics of one or several sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.core.composition import ALL_QUANTITIES, Quantity
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.options import StageOptions
from ream.workspace.original import Original, open_decoder

if TYPE_CHECKING:
    from ream.walk.batches import Batches
    from ream.walk.probes import Probes
    from ream.walk.share import Share
    from ream.walk.state import WalkState


def open_state(
    params: Params, folder: Path, facts: dict[str, Any], options: StageOptions, walks: int = 1
) -> "WalkState":
    """The state of a walk.

    Args:
        params: all settings.
        folder: of the state.
        facts: everything that a finished layer depends on, but the code.
        options: with ``code`` and ``discard_stale``.
        walks: number of walks that share the memory for hidden states.

    Raises:
        UserError: another process uses the folder, or its layers are stale and may not be discarded.
    """
    from ream.walk.state import WalkState, fingerprint

    depends = with_code(facts, options)
    return WalkState(folder, fingerprint(depends), options.discard_stale, depends, params.compute.hidden_memory / walks)


def with_code(facts: dict[str, Any], options: StageOptions) -> dict[str, Any]:
    """Everything that a finished layer depends on.

    The code is not among the facts that are stored with finished statistics: a change of code that changes none of
    their numbers changes no byte of them, and nothing that depends on them runs again.
    """
    return facts | {"code": options.code}


def collect(
    params: Params,
    original: Original,
    passes: Sequence[tuple["Batches", "Probes", "WalkState"]],
    title: str,
    shares: "Sequence[Share] | None" = None,
    needs: frozenset[Quantity] = ALL_QUANTITIES,
) -> None:
    """Walk the original once and leave the statistics of every layer in the states.

    Args:
        params: all settings.
        original: the model.
        passes: tokens, probes and state of each source.
        title: of the progress bar.
        shares: under torchrun, how the totals of all ranks are made, for each source; only the first rank shows
            progress.
        needs: what is measured; see `LayerStatistics`.
    """
    from ream.compress.one_shot import collect_all

    decoder = open_decoder(params, original)
    depth = original.architecture.depth
    steps, tokens = sum(len(data) for data, _, _ in passes), sum(int(data.mask.sum()) for data, _, _ in passes)
    silent = shares is not None and not shares[0].ranks.first
    with Progress(steps * depth, title, "batch", depth, tokens, silent=silent) as bar:
        collect_all(decoder, passes, bar, shares, needs)
