"""What a request of a run may ask for."""

from pathlib import Path

from flows.clones import check_remote, take_snapshot
from ream.errors import UserError


def check_request(root: Path, workers: int, models: int | None, shards: int, clones: bool) -> None:
    """Refuse a request that cannot be run; the arguments after the repository are those of `pipeline`.

    Raises:
        UserError: a number is below 1, shards and clones are both asked for, or clones without a DVC remote or with
            uncommitted code.
    """
    if min(workers, 1 if models is None else models, shards) < 1:
        raise UserError(f"workers ({workers}), models ({models}) and shards ({shards}) must be at least 1")
    if clones and shards > 1:
        raise UserError("shards are added up in one workspace, which clones do not share; give either shards or clones")
    if clones:
        check_remote(root)
        take_snapshot(root)
