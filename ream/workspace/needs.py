"""The file that says what the statistics of a graph consist of: what any of its one-shot methods needs."""

from typing import Any, cast

from ream.core.composition import ALL_QUANTITIES, OUTPUT_MEANS, Quantity, needs
from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.params import Params
from ream.workspace.layout import Workspace


def needed(params: Params) -> frozenset[Quantity]:
    """What the one-shot methods of a run need together; a sequential method measures for itself.

    A search of mixes for a sequential method runs on its one-shot relative.
    """
    methods = [params.method(name) for name in (*params.run.one_shot, *params.run.extra.one_shot)]
    methods += [params.method(name).one_shot() for name in params.run.search]
    return frozenset(quantity for method in methods for quantity in needs(method.composition()))


def sample_facts(params: Params, quantities: frozenset[Quantity], tokens: int, alone: bool = True) -> dict[str, Any]:
    """What statistics depend on beside their tokens.

    That is ``sampled``, the first and the largest size of the sample for means of outputs, and ``saliency_batch``, the
    number of sequences in a batch; each only where it is needed.

    Args:
        params: with the section ``statistics``.
        quantities: what is measured.
        tokens: number of tokens of the source or mix.
        alone: whether one process sees all of them.
    """
    from ream.core.sample import sampling  # numpy, which the stage check does without

    size = sampling(params.statistics.dense_tokens, tokens, alone)
    facts: dict[str, Any] = {}
    if size is not None and quantities & OUTPUT_MEANS:
        facts["sampled"] = [size.first, size.most]
    if "batch-norms" in quantities:
        facts["saliency_batch"] = params.statistics.saliency_batch
    return facts


def write_needs(workspace: Workspace, quantities: frozenset[Quantity]) -> None:
    """Write what the statistics consist of. DVC runs their stage again if this changes."""
    write_json(workspace.needs, {"statistics": sorted(quantities)})


def read_needs(workspace: Workspace) -> frozenset[Quantity]:
    """What the statistics consist of, beside counts.

    Raises:
        UserError: the stage check, which says so, has not run.
    """
    if not workspace.needs.exists():
        raise UserError(f"{workspace.needs} is missing; run `ream stage check` first")
    listed = set(read_json(workspace.needs)["statistics"])
    if not listed <= ALL_QUANTITIES:
        raise UserError(f"{workspace.needs} names {sorted(listed - ALL_QUANTITIES)}; run `ream stage check` again")
    return cast("frozenset[Quantity]", frozenset(listed))
