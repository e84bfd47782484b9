"""What a compression will need, before it runs: sizes, memory, disk, arithmetic; and whether this machine has room."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ream.errors import UserError
from ream.estimate.disk import output_bytes
from ream.estimate.flops import Flops, flops_of
from ream.estimate.memory import Needs, needs_of
from ream.estimate.rates import Rates
from ream.estimate.work import Work
from ream.machine.available import free_device, free_disk, size_on_disk
from ream.machine.memory import free_memory
from ream.machine.units import bytes_shown
from ream.models.inspection.headers import Headers

GIGA, TERA, PETA = 1e9, 1e12, 1e15
# Part of the memory to the setting that makes it smaller.
REMEDIES = {
    "hidden states": "compute.hidden_memory_gb",
    "embedding": "compute.hidden_memory_gb",
    "micro-batch": "compute.batch_tokens",
    "alignment": "statistics.probes",
    "sums and probes": "statistics.probes",
}
WORTH_NAMING = 0.05  # fraction of the memory needed above which an error names a part


@dataclass(frozen=True)
class Estimate:
    """A compression in numbers. Parameters exclude the scales of quantised tensors; sizes are in bytes.

    Attributes:
        work: what is to be done.
        layers: decoder layers of the model.
        moe_layers: layers with routed experts, multi-token layers included.
        multi_token: multi-token layers that are compressed.
        experts: N, experts of every MoE layer of the original.
        parameters_before: of the whole original.
        parameters_after: of the whole compressed model.
        active_before: parameters of the original that a token of the text model uses, with embedding and head.
        active_after: the same of the compressed model.
        bytes_before: of all tensors of the original on disk.
        bytes_after: of all tensors of the output on disk.
        needs: memory and disk.
        flops: arithmetic.
        quantised: whether the original is quantised.
    """

    work: Work
    layers: int
    moe_layers: int
    multi_token: int
    experts: int
    parameters_before: int
    parameters_after: int
    active_before: int
    active_after: int
    bytes_before: int
    bytes_after: int
    needs: Needs
    flops: Flops
    quantised: bool

    @property
    def host(self) -> int:
        """Peak memory of the process in bytes."""
        return sum(self.needs.host.values())

    @property
    def device(self) -> int:
        """Peak memory on the GPU in bytes; 0 without one."""
        return sum(self.needs.device.values())

    def seconds(self, rates: Rates) -> float:
        """Seconds of the arithmetic at measured speeds: a lower bound of the time it will take."""
        double = (self.flops.double + self.flops.solving) / rates.double
        return self.flops.compute / rates.compute + double + self.flops.assignment / rates.assignment


def estimate(model: Headers, work: Work) -> Estimate:
    """Estimate a compression from headers alone.

    Args:
        model: the original.
        work: what is to be done.
    """
    architecture, parts = model.architecture, model.parts
    numbers = architecture.family.numbers(model.checkpoint.config)
    return Estimate(
        work=work,
        layers=architecture.layers,
        moe_layers=len(architecture.moe_layers),
        multi_token=architecture.multi_token,
        experts=architecture.experts,
        parameters_before=parts.all.parameters,
        parameters_after=parts.kept(work.experts, architecture.experts).parameters,
        active_before=parts.active(architecture, architecture.experts),
        active_after=parts.active(architecture, work.experts),
        bytes_before=parts.all.bytes,
        bytes_after=output_bytes(parts, architecture, work),
        needs=needs_of(parts, architecture, numbers, work),
        flops=flops_of(parts, architecture, numbers, work),
        quantised=model.checkpoint.form is not None,
    )


def rows(estimated: Estimate, rates: Rates) -> dict[str, str]:
    """The estimate for people: name to value, one line each."""
    flops, share = estimated.flops, estimated.parameters_after / estimated.parameters_before
    dtype, device = str(estimated.work.dtype).removeprefix("torch."), estimated.work.device
    extra = f" and {estimated.multi_token} multi-token" if estimated.multi_token else ""
    needs = estimated.needs
    return {
        "layers": f"{estimated.layers}{extra}, {estimated.moe_layers} of them with routed experts",
        "experts": f"{estimated.experts} -> {estimated.work.experts} per layer",
        "parameters": f"{estimated.parameters_before:,} -> {estimated.parameters_after:,} ({share:.0%})",
        "active": f"{estimated.active_before:,} -> {estimated.active_after:,} per token",
        "on disk": f"{bytes_shown(estimated.bytes_before)} -> {bytes_shown(estimated.bytes_after)}",
        "host memory": f"{bytes_shown(estimated.host)} at its peak",
        **{f"  {name}": bytes_shown(size) for name, size in needs.host.items() if size},
        **({"device memory": f"{bytes_shown(estimated.device)} at its peak"} if needs.device else {}),
        **({f"  {name}, on the device": bytes_shown(size) for name, size in needs.device.items()}),
        "disk, while running": f"{bytes_shown(needs.walk_disk)} for the walk, "
        f"{bytes_shown(needs.output_disk)} while the output is written, in addition to the original",
        "arithmetic": f"{_tera(flops.total)} in total",
        "  attention, dense layers": _tera(flops.layers),
        _measured(estimated.work): f"{_tera(flops.statistics)}, for the statistics",
        "  experts, routed tokens": _tera(flops.routed),
        "  alignment": f"{_tera(flops.probes)} on probe tokens and weights, {_tera(flops.double)} in float64",
        "  assignment": f"{flops.assignment:.2g} steps",
        **({"  refit": f"{_tera(flops.refit)} at most, {_tera(flops.solving)} in float64"} if flops.refit else {}),
        "time": f"{duration(estimated.seconds(rates))} or more: the arithmetic at the {rates.compute / GIGA:,.0f} "
        f"GFLOP/s of {dtype} and {rates.double / GIGA:,.0f} of float64 just measured on {device}; reading the "
        "shards adds to it",
    }


def _measured(work: Work) -> str:
    """The name of the arithmetic of the statistics, by what they compute."""
    if work.dense:
        return "  experts, all tokens"
    sample = f", all on up to {work.dense_tokens:,} tokens" if work.dense_tokens else ""
    return f"  experts, measured{sample}"


def summary(estimated: Estimate, rates: Rates) -> str:
    """The estimate in one line, for the start of a run."""
    needs = estimated.needs
    device = f", device memory {bytes_shown(estimated.device)}" if needs.device else ""
    return (
        f"estimate: {estimated.experts} -> {estimated.work.experts} experts in {estimated.moe_layers} layers; "
        f"{billions(estimated.parameters_before)} -> {billions(estimated.parameters_after)} parameters, "
        f"{bytes_shown(estimated.bytes_before)} -> {bytes_shown(estimated.bytes_after)}; "
        f"memory {bytes_shown(estimated.host)}{device}, disk {bytes_shown(needs.disk)}; "
        f"{_tera(estimated.flops.total)}, {duration(estimated.seconds(rates))} or more"
    )


def check_fits(estimated: Estimate, out: Path, resumed: Path | None = None) -> None:
    """Refuse a compression for which this machine has no room.

    Args:
        estimated: what it needs.
        out: where the output will be.
        resumed: folder of an interrupted run, whose files are part of the disk space needed.

    Raises:
        UserError: memory, disk or the GPU's memory is too small; says what to lower.
    """
    work, needs = estimated.work, estimated.needs
    free = free_memory()
    if free is not None and estimated.host > free:
        raise UserError(_too_much("memory", estimated.host, free, needs.host, work))
    on_device = free_device(work.device)
    if on_device is not None and estimated.device > on_device:
        raise UserError(_too_much(f"memory of {work.device}", estimated.device, on_device, needs.device, work))
    disk = free_disk(out) + (size_on_disk(resumed) if resumed else 0)
    if needs.disk > disk:
        lower = "calibration.sequences" if needs.walk_disk > needs.output_disk else "the number of experts"
        raise UserError(
            f"{out.absolute()}: about {bytes_shown(needs.disk)} of disk is needed while it runs, but "
            f"{bytes_shown(disk)} is free; choose another folder or free space, or lower {lower}"
            + (", or leave out merge.dtype: bfloat16" if work.unquantised and estimated.quantised else "")
        )


def _too_much(what: str, needed: int, free: int, parts: dict[str, int], work: Work) -> str:
    """The error line for too little memory: the largest parts, and the settings that make them smaller."""
    large = sorted((name for name in parts if parts[name] > WORTH_NAMING * needed), key=lambda name: -parts[name])
    advice = list(dict.fromkeys(REMEDIES[name] for name in large if name in REMEDIES))
    if work.dtype == torch.float32:
        advice.append("compute.dtype (bfloat16 takes half)")
    listed = ", ".join(f"{name} {bytes_shown(parts[name])}" for name in large)
    lower = f"lower {' or '.join(advice)}" if advice else "no setting makes it smaller: use a larger machine"
    return f"{what}: about {bytes_shown(needed)} is needed ({listed}), but {bytes_shown(free)} is free; {lower}"


def billions(parameters: int) -> str:
    """A number of parameters in billions, or in millions below one billion, with at least three digits."""
    value, unit = (parameters / 1e9, "B") if parameters >= 1e9 else (parameters / 1e6, "M")
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has at least two, with one decimal."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _tera(flops: float) -> str:
    """Floating-point operations in TFLOP, or in PFLOP from 10¹⁵."""
    return f"{flops / PETA:,.4g} PFLOP" if flops >= PETA else f"{flops / TERA:.3g} TFLOP"
