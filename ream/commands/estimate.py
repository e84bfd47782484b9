"""`ream estimate`, and the check at the start of every `ream compress`: what is needed, and whether it is there."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ream.commands.options import (
    Device,
    Experts,
    GroupSize,
    Ignore,
    Method,
    Mix,
    ModelArgument,
    ParamsFile,
    Sequences,
    Settings,
    Tokens,
)
from ream.commands.output import print_rows, warn
from ream.commands.request import Request, requested
from ream.commands.shipped import params_file

if TYPE_CHECKING:
    import torch

    from ream.core.composition import Composition
    from ream.estimate.work import Work
    from ream.params import Params
    from ream.workspace.original import Original


def estimate(
    model: ModelArgument,
    experts: Experts,
    method: Method = "ream",
    mix: Mix = None,
    out: Annotated[Path, typer.Option(help="Folder that would be written; its disk must have room.")] = Path("."),
    group_size: GroupSize = None,
    sequences: Sequences = None,
    tokens: Tokens = None,
    device: Device = None,
    ignore: Ignore = None,
    settings: Settings = None,
    params: ParamsFile = None,
) -> None:
    """Estimate what a compression would need, before anything runs.

    Prints sizes, memory, disk, arithmetic and time. They follow from the config and the headers of the shards, or from
    the config alone if there are no shards. Ends with an error if this machine has too little memory or disk.
    """
    request = Request(
        model=model,
        out=out,
        experts=experts,
        method=method,
        mix=mix,
        group_size=group_size,
        sequences=sequences,
        tokens=tokens,
        device=device,
        settings=tuple(settings or ()),
        ignore=tuple(ignore or ()),
    )
    estimate_model(request, params_file(params), print_rows, warn)


def estimate_model(
    request: Request,
    params_path: Path,
    show: Callable[[dict[str, str]], None],
    warn: Callable[[str], None],
) -> None:
    """Show what a compression of a model would need, from its headers or its config alone.

    Args:
        request: the compression.
        params_path: the params file.
        show: prints names and values.
        warn: prints a line about what may be unwelcome in the output.

    Raises:
        UserError: the sizes do not fit the model, or the machine has no room.
    """
    from ream.estimate.needs import check_fits, estimate, rows
    from ream.estimate.rates import measured
    from ream.estimate.serving import concerns
    from ream.models.family.ignored import check_ignored
    from ream.models.inspection.headers import open_headers
    from ream.models.runtime import runtime
    from ream.stages.check import check_sizes

    params, mix = requested(request, params_path)
    model = open_headers(params.model.path, params.model.multi_token, params.model.trust_remote_code, against_code=True)
    check_sizes(params, model.architecture)
    check_ignored(model.architecture, request.ignore)
    device, dtype = runtime(*params.compute.placement)
    needs = estimate(model, work_of(params, mix, request.method, request.experts, device, dtype))
    name = f"{request.model}{'' if model.revision is None else ' @ ' + model.revision}"
    show(
        {
            "model": name + (", from its config.json alone" if model.planned else ""),
            **rows(needs, measured(device, dtype)),
        }
    )
    for concern in concerns(model.architecture, request.experts):
        warn(concern)
    check_fits(needs, request.out)


def check_run(
    params: "Params",
    original: "Original",
    mix: str,
    method: str,
    experts: int,
    out: Path,
    resumed: Path,
    warn: Callable[[str], None],
) -> str:
    """Refuse a run for which there is no room.

    Args:
        params: all settings.
        original: the model.
        mix: name of the mix.
        method: name of the method.
        experts: K.
        out: folder to write.
        resumed: folder of an interrupted run's work, whose size counts as free.
        warn: prints a line about what may be unwelcome in the output.

    Returns:
        One line about what the run needs.

    Raises:
        UserError: see `check_fits`.
    """
    from ream.estimate.needs import check_fits, estimate, summary
    from ream.estimate.rates import measured
    from ream.estimate.serving import concerns
    from ream.models.inspection.headers import headers_of
    from ream.models.runtime import runtime

    device, dtype = runtime(*params.compute.placement)
    model = headers_of(original.checkpoint, original.architecture, original.manifest.multi_token)
    needs = estimate(model, work_of(params, mix, method, experts, device, dtype))
    for concern in concerns(original.architecture, experts):
        warn(concern)
    check_fits(needs, out, resumed)
    return summary(needs, measured(device, dtype))


def work_of(
    params: "Params", mix: str, method: str, experts: int, device: "torch.device", dtype: "torch.dtype"
) -> "Work":
    """The work of one cell of the graph.

    Args:
        params: all settings.
        mix: name of the mix.
        method: name of the method.
        experts: K.
        device: where ``compute`` runs on this machine (`decoder.runtime`).
        dtype: in which it runs there.

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
        needs=needs(composition),
        batches=_batches(params, shares, composition),
        sampled=_sampled(params, shares, composition.sequential),
        tokens=params.calibration.tokens,
        passes=1 if composition.sequential else sum(ratio > 0 for ratio in ratios.values()),
        probes=params.statistics.probes if "probes" in needs(composition) else 0,
        batch_tokens=params.compute.batch_tokens,
        hidden_memory=params.compute.hidden_memory,
        device=device,
        dtype=dtype,
        unquantised=params.merge.dtype != "original",
        refit=composition.refit.target if composition.refit else None,
        sweeps=composition.refit.sweeps if composition.refit else 0,
        candidates=len(tried) if composition.chooses else 0,
        ridges=composition.refit is not None and composition.refit.ridge is None,
        router=composition.refit is not None and composition.refit.router,
        held_out=held_out_total(composition, shares),
        iterations=composition.refit.iterations if composition.refit else 0,
        chooses=sum(parts.merging == "neurons" for parts in tried),
    )


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
