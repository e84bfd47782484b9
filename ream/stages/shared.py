"""What several ranks (torchrun) do of `ream compress`, and what they refuse."""

from pathlib import Path
from typing import TYPE_CHECKING

from ream.errors import UserError
from ream.params import Params
from ream.stages.workspace import Workspace

if TYPE_CHECKING:
    from ream.compress.ranks import Ranks

BEGUN = "the text"  # where the ranks meet when the first has prepared all, or found that there is nothing to do


def check_shared(params: Params, method: str | None = None) -> None:
    """Refuse what can't be shared out over ranks.

    Args:
        params: all settings. method: the name of the one that is asked for; None where only statistics are.

    Raises:
        UserError: a sequential method, or shards that go after use.
    """
    if method is not None and params.method(method).sequential:
        raise UserError(
            f"method '{method}' is sequential: it decides on each layer before it walks the next, and only the "
            "statistics of one-shot methods are shared out over ranks; run it without torchrun"
        )
    if not params.model.keep_shards and not Path(params.model.path).is_dir():
        raise UserError(
            "shards that are removed after use would be missing to other ranks; set model.keep_shards (--keep-shards), "
            "or run without torchrun"
        )


def accompany(params: Params, workspace: Workspace, sources: list[str], ranks: "Ranks") -> None:
    """The part in `ream compress` of every rank but the first: its share of the statistics, when all is prepared.

    Raises:
        UserError: of any rank.
    """
    from ream.stages.statistics import run_all

    if ranks.meet(BEGUN)[0]:
        run_all(params, workspace, sources, discard_stale=False, ranks=ranks)
