"""`ream estimate`, and the check at the start of every `ream compress`: what is needed, and whether it is there."""

from collections.abc import Callable
from pathlib import Path

from ream.compress.decide import absorbed_at_most
from ream.params import Params
from ream.stages.original import Original
from ream.stages.pipeline import Request, requested


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
    from ream.compress.estimate import check_fits, estimate, rows
    from ream.compress.rates import measured
    from ream.compress.work import work_of
    from ream.models.architecture import check_group_size, check_kept
    from ream.models.decoder import runtime
    from ream.models.headers import open_headers
    from ream.models.serving import concerns

    params, mix = requested(request, params_path)
    model = open_headers(params.model.path, params.model.multi_token, params.model.trust_remote_code)
    check_kept(model.architecture, request.experts)
    method = params.method(request.method)
    if method.grouping == "pseudo-pruning":
        size = absorbed_at_most(method, params.grouping.size_for(request.experts))
        check_group_size(model.architecture, request.experts, size)
    device, dtype = runtime(params.compute)
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
    from ream.compress.estimate import check_fits, estimate, summary
    from ream.compress.rates import measured
    from ream.compress.work import work_of
    from ream.models.decoder import runtime
    from ream.models.headers import headers_of
    from ream.models.serving import concerns

    device, dtype = runtime(params.compute)
    model = headers_of(original.checkpoint, original.architecture, original.manifest.multi_token)
    found = estimate(model, work_of(params, mix, method, experts, device, dtype))
    for concern in concerns(original.architecture, experts):
        warn(concern)
    check_fits(found, out, resumed)
    return summary(found, measured(device, dtype))
