"""`ream estimate`, and the check at the start of every `ream compress`: what is needed, and whether it is there."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ream.commands.request import Request, requested
from ream.compress.decide import absorbed_at_most
from ream.params import Params
from ream.workspace.original import Original

if TYPE_CHECKING:
    import torch

    from ream.estimate.work import Work


def estimate_model(
    request: Request,
    params_path: Path,
    show: Callable[[dict[str, str]], None],
    warn: Callable[[str], None],
) -> None:
    """Show what a compression of a model would need, from its headers or its config alone.

    Args:
        request: what would be done. params_path: of the params file.
        show: is given name to value. warn: is given what may be unwelcome in the output.

    Raises:
        UserError: the sizes do not fit the model, or the machine has no room.
    """
    from ream.estimate.needs import check_fits, estimate, rows
    from ream.estimate.rates import measured
    from ream.estimate.serving import concerns
    from ream.models.family.sizes import check_group_size, check_kept
    from ream.models.inspection.headers import open_headers
    from ream.models.runtime import runtime

    params, mix = requested(request, params_path)
    model = open_headers(params.model.path, params.model.multi_token, params.model.trust_remote_code)
    check_kept(model.architecture, request.experts)
    method = params.method(request.method)
    if method.grouping == "pseudo-pruning":
        size = absorbed_at_most(method.composition(), params.grouping.size_for(request.experts))
        check_group_size(model.architecture, request.experts, size)
    device, dtype = runtime(*params.compute.placement)
    found = estimate(model, work_of(params, mix, request.method, request.experts, device, dtype))
    where = f"{request.model}{'' if model.revision is None else ' @ ' + model.revision}"
    show(
        {
            "model": where + (", of its config.json alone" if model.planned else ""),
            **rows(found, measured(device, dtype)),
        }
    )
    for concern in concerns(model.architecture, request.experts):
        warn(concern)
    check_fits(found, request.out)


def check_run(
    params: Params,
    original: Original,
    mix: str,
    method: str,
    experts: int,
    out: Path,
    resumed: Path,
    warn: Callable[[str], None],
) -> str:
    """Refuse a run for which there is no room; a line about what it takes.

    Args:
        params: all settings. original: the model.
        mix, method, experts: the cell of the graph.
        out: folder to write. resumed: folder of what an interrupted run has done.
        warn: is given what may be unwelcome in the output.

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
    found = estimate(model, work_of(params, mix, method, experts, device, dtype))
    for concern in concerns(original.architecture, experts):
        warn(concern)
    check_fits(found, out, resumed)
    return summary(found, measured(device, dtype))


def work_of(
    params: Params, mix: str, method: str, experts: int, device: "torch.device", dtype: "torch.dtype"
) -> "Work":
    """The work of one cell of the graph.

    Args:
        params: all settings. mix, method: names. experts: K.
        device, dtype: that ``compute`` comes to on this machine (`decoder.runtime`).

    Raises:
        UserError: unknown names, or no group size for that number of experts.
    """
    from ream.estimate.work import Work

    composition, ratios = params.method(method).composition(), params.mix(mix)
    merges, bounded = composition.grouping != "pruning", composition.grouping == "pseudo-pruning"
    return Work(
        experts=experts,
        group_size=absorbed_at_most(composition, params.grouping.size_for(experts)) if bounded else None,
        sequential=composition.sequential,
        merges=merges,
        terms=composition.alignment,
        sequences=params.calibration.sequences,
        tokens=params.calibration.tokens,
        passes=1 if composition.sequential else sum(ratio > 0 for ratio in ratios.values()),
        probes=params.statistics.probes,
        batch_tokens=params.compute.batch_tokens,
        hidden_memory=params.compute.hidden_memory,
        device=device,
        dtype=dtype,
        unquantised=params.merge.dtype != "original",
        refit=composition.refit.target if composition.refit else None,
        sweeps=composition.refit.sweeps if composition.refit else 0,
        iterations=composition.refit.iterations if composition.refit else 0,
        chooses=composition.merging == "neurons",
    )
