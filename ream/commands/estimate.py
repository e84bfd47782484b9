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
    Text,
    Tokens,
)
from ream.commands.output import print_rows, warn
from ream.commands.request import Request, requested
from ream.commands.shipped import params_file
from ream.commands.work import work_of

if TYPE_CHECKING:
    from ream.core.composition import Quantity
    from ream.estimate.needs import Estimate
    from ream.params import Params
    from ream.workspace.original import Original


def estimate(
    model: ModelArgument,
    experts: Experts,
    method: Method = "ream",
    mix: Mix = None,
    out: Annotated[Path, typer.Option(help="Folder that would be written; its disk must have room.")] = Path("."),
    text: Text = None,
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
        text=tuple(text or ()),
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
    from ream.estimate.needs import check_fits

    needs, rows, concerns = estimated(request, params_path)
    show(rows)
    for concern in concerns:
        warn(concern)
    check_fits(needs, request.out)


def estimated(request: Request, params_path: Path) -> tuple["Estimate", dict[str, str], list[str]]:
    """What a compression would need: in numbers, in words for people, and what may be unwelcome in its output.

    Raises:
        UserError: the sizes do not fit the model.
    """
    from ream.estimate.needs import estimate, rows
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
    shown = {"model": name + (", from its config.json alone" if model.planned else "")}
    shown |= rows(needs, measured(device, dtype))
    shown["sequences"] = _sequences(params, mix, request.method, params_path)
    return needs, shown, concerns(model.architecture, request.experts)


def _sequences(params: "Params", mix: str, method: str, params_path: Path) -> str:
    """How many sequences of each source are walked, and how many the graph of the params file would walk once."""
    from ream.calibration.mixing import largest_remainder
    from ream.params import load_params
    from ream.workspace.shares import largest_shares

    def listed(numbers: "dict[str, int]") -> str:
        return ", ".join(f"{source} {number}" for source, number in numbers.items() if number)

    line = f"{listed(largest_remainder(params.mix(mix), params.calibration.sequences))}, by the mix {mix}"
    if params.method(method).sequential:
        return line
    graph = load_params(params_path).model_copy(update={"calibration": params.calibration})
    drawn = graph.calibration.sequences
    shares = {source: drawn if share is None else share for source, share in largest_shares(graph).items()}
    return f"{line}; the graph of {params_path.name} walks {listed(shares)} once, for its {len(graph.run.mixes)} mixes"


def check_run(
    params: "Params",
    original: "Original",
    mix: str,
    method: str,
    experts: int,
    out: Path,
    resumed: Path,
    warn: Callable[[str], None],
    measured: "frozenset[Quantity] | None" = None,
) -> "tuple[str, Estimate]":
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
        measured: what the statistics of a one-shot method consist of; None for what it needs itself.

    Returns:
        One line about what the run needs, and the estimate.

    Raises:
        UserError: see `check_fits`.
    """
    from ream.estimate.needs import check_fits, estimate, summary
    from ream.estimate.rates import measured as measured_rates
    from ream.estimate.serving import concerns
    from ream.models.inspection.headers import headers_of
    from ream.models.runtime import runtime

    device, dtype = runtime(*params.compute.placement)
    model = headers_of(original.checkpoint, original.architecture, original.manifest.multi_token)
    needs = estimate(model, work_of(params, mix, method, experts, device, dtype, measured))
    for concern in concerns(original.architecture, experts):
        warn(concern)
    check_fits(needs, out, resumed)
    return summary(needs, measured_rates(device, dtype)), needs
