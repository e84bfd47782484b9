"""From settings to the work of one compression, as the estimate needs it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ream.core.composition import Composition, Quantity
    from ream.estimate.work import Work
    from ream.params import Params


def work_of(
    params: "Params",
    mix: str,
    method: str,
    experts: int,
    device: "torch.device",
    dtype: "torch.dtype",
    measured: "frozenset[Quantity] | None" = None,
) -> "Work":
    """The work of one cell of the graph.

    Args:
        params: all settings.
        mix: name of the mix.
        method: name of the method.
        experts: K.
        device: where ``compute`` runs on this machine (`decoder.runtime`).
        dtype: in which it runs there.
        measured: what the statistics of a one-shot method consist of; None for what it needs itself.

    Raises:
        UserError: a name is unknown, or there is no group size for that number of experts.
    """
    from ream.calibration.mixing import largest_remainder
    from ream.compress.decide import absorbed_at_most
    from ream.compress.held_out import held_out_total
    from ream.core.composition import PRUNINGS, needs
    from ream.estimate.work import Work

    composition, ratios = params.method(method).composition(), params.mix(mix)
    shares, tried = largest_remainder(ratios, params.calibration.sequences), composition.tried
    own = needs(composition) if composition.sequential or measured is None else measured
    merges = any(parts.grouping not in PRUNINGS for parts in tried)
    bounded = all(parts.grouping in {*PRUNINGS, "pseudo-pruning"} for parts in tried) and merges
    return Work(
        experts=experts,
        group_size=absorbed_at_most(composition, params.grouping.size_for(experts)) if bounded else None,
        sequential=composition.sequential,
        merges=merges,
        terms=max((parts.alignment for parts in tried), key=len),
        sequences=params.calibration.sequences if composition.sequential else max(shares.values()),
        total=params.calibration.sequences,
        needs=own,
        batches=_batches(params, shares, composition),
        sampled=_sampled(params, shares, composition.sequential),
        tokens=params.calibration.tokens,
        passes=1 if composition.sequential else sum(ratio > 0 for ratio in ratios.values()),
        probes=params.statistics.probes if "probes" in own else 0,
        batch_tokens=params.compute.batch_tokens,
        hidden_memory=params.compute.hidden_memory,
        device=device,
        dtype=dtype,
        unquantised=params.merge.dtype != "original",
        candidates=len(tried) if composition.chooses else 0,
        held_out=held_out_total(composition, shares),
        chooses=sum(parts.merging == "neurons" for parts in tried),
        **_of_refit(composition),
    )


def _of_refit(method: "Composition") -> dict[str, Any]:
    """The fields of `Work` that say what is refitted."""
    if method.refit is None:
        return {"refit": None, "sweeps": 0}
    return {
        "refit": method.refit.target,
        "sweeps": method.refit.sweeps,
        "ridges": method.refit.ridge is None,
        "router": method.refit.router,
        "iterations": method.refit.iterations,
    }


def _batches(params: "Params", shares: dict[str, int], method: "Composition") -> int:
    """Batches of sequences of all passes whose sums are kept; 0 where the method needs none.

    Args:
        params: all settings.
        shares: sequences of each source.
        method: the composition; all sources of a sequential one go through the model as one.
    """
    from ream.core.composition import needs

    if "batch-norms" not in needs(method):
        return 0
    sequences = [params.calibration.sequences] if method.sequential else list(shares.values())
    return sum(-(-count // params.statistics.saliency_batch) for count in sequences)


def _sampled(params: "Params", shares: dict[str, int], sequential: bool) -> int | None:
    """Tokens of all passes, at most, on which all experts are computed; None where that is all of them.

    Args:
        params: all settings.
        shares: sequences of each source.
        sequential: whether all sources go through the model as one.
    """
    from ream.core.sample import sampling

    sequences = [params.calibration.sequences] if sequential else list(shares.values())
    tokens = [count * params.calibration.tokens for count in sequences if count]
    sizes = [sampling(params.statistics.dense_tokens, count) for count in tokens]
    if not any(sizes):
        return None
    return sum(count if size is None else min(count, size.most) for count, size in zip(tokens, sizes, strict=True))
