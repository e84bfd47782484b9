"""How many sequences of each source the graph's one-shot statistics are taken of: as many as its mixes need.

The statistics of a mix are means over each source, weighted by the mix's ratios (docs/method.md, "Mixing"), so they are
unbiased whatever number of a source's sequences they are taken of. A mix alone would draw its share of n sequences of
each source; with the largest share of any mix, every mix has at least its own.
"""

from ream.calibration.mixing import largest_remainder
from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.params import Params
from ream.workspace.layout import Workspace


def largest_shares(params: Params) -> dict[str, int | None]:
    """Source of the run to the number of its sequences that are measured; None for all that are drawn.

    That is the largest share of n = `calibration.sequences` that any mix of the run draws of it, and at least 1, or all
    where `statistics.sequences` says so.
    """
    if params.statistics.sequences == "all":
        return dict.fromkeys(params.run.sources)
    shares = [largest_remainder(params.mix(mix), params.calibration.sequences) for mix in params.run.mixes]
    return {source: max([1, *(share.get(source, 0) for share in shares)]) for source in params.run.sources}


def write_shares(workspace: Workspace, shares: dict[str, int | None]) -> None:
    """Write a file for each source; DVC runs the statistics of those again whose number has changed."""
    for source, sequences in shares.items():
        write_json(workspace.share(source), {"sequences": sequences})


def read_share(workspace: Workspace, source: str) -> int | None:
    """The number of a source's sequences that are measured; None for all.

    Raises:
        UserError: the stage check, which says so, has not run.
    """
    path = workspace.share(source)
    if not path.exists():
        raise UserError(f"{path} is missing; run `ream stage check` first")
    sequences: int | None = read_json(path)["sequences"]
    return sequences
