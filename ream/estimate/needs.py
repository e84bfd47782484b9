"""What a compression needs and does, before it runs: sizes, memory, disk, arithmetic; and whether it fits here."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ream.errors import UserError
from ream.estimate.flops import Flops, flops_of
from ream.estimate.memory import Needs, needs_of, output_bytes
from ream.estimate.rates import Rates
from ream.estimate.work import Work
from ream.machine.available import free_device, free_disk, free_memory, size_on_disk
from ream.models.inspection.headers import Headers

GIGA, TERA, PETA = 1e9, 1e12, 1e15
# Part of the memory to what makes it smaller.
REMEDIES = {
    "hidden states": "compute.hidden_memory_gb",
    "embedding": "compute.hidden_memory_gb",
    "micro-batch": "compute.batch_tokens",
    "alignment": "statistics.probes",
    "sums and probes": "statistics.probes",
}
FEW = 0.05  # of what is needed: parts that are less are not worth naming


@dataclass(frozen=True)
class Estimate:
    """A compression in numbers. Parameters are the model's own, without scales of quantised tensors; sizes in bytes.

    Attributes:
        work: what is to be done.
        layers, moe_layers, multi_token: of the model; of multi-token layers those that are compressed.
        experts: N.
        parameters_before, parameters_after: of the whole model.
        active_before, active_after: that a token of the text model uses, with embedding and head.
        bytes_before, bytes_after: of all tensors on disk.
        needs: of memory and disk.
        flops: of the parts.
        quantised: whether the original is.
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
        """Peak memory of the process."""
        return sum(self.needs.host.values())

    @property
    def device(self) -> int:
        """Peak memory on the GPU; 0 without one."""
        return sum(self.needs.device.values())

    def seconds(self, rates: Rates) -> float:
        """The arithmetic at measured speeds: less than the time it will take."""
        double = (self.flops.double + self.flops.solving) / rates.double
        return self.flops.compute / rates.compute + double + self.flops.assignment / rates.assignment


def estimate(model: Headers, work: Work) -> Estimate:
    """Estimate a compression from headers alone.

    Args:
        model: the original. work: what is to be done.
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


def rows(found: Estimate, rates: Rates) -> dict[str, str]:
    """For people, a line a number."""
    flops, share = found.flops, found.parameters_after / found.parameters_before
    dtype, device = str(found.work.dtype).removeprefix("torch."), found.work.device
    extra = f" and {found.multi_token} multi-token" if found.multi_token else ""
    return {
        "layers": f"{found.layers}{extra}, {found.moe_layers} of them with routed experts",
        "experts": f"{found.experts} -> {found.work.experts} in each",
        "parameters": f"{found.parameters_before:,} -> {found.parameters_after:,} ({share:.0%})",
        "active": f"{found.active_before:,} -> {found.active_after:,} for a token",
        "on disk": f"{_gb(found.bytes_before)} -> {_gb(found.bytes_after)}",
        "host memory": f"{_gb(found.host)} at its peak",
        **{f"  {name}": _gb(size) for name, size in found.needs.host.items() if size},
        **({"device memory": f"{_gb(found.device)} at its peak"} if found.needs.device else {}),
        **({f"  {name}, there": _gb(size) for name, size in found.needs.device.items()}),
        "disk, while it runs": f"{_gb(found.needs.disk)} beside the original",
        "arithmetic": f"{_tera(flops.total)} in all",
        "  attention, dense layers": _tera(flops.layers),
        "  experts, all tokens": f"{_tera(flops.dense)}, for the statistics",
        "  experts, routed tokens": _tera(flops.routed),
        "  alignment": f"{_tera(flops.probes)} on probe tokens, {_tera(flops.double)} in float64",
        "  assignment": f"{flops.assignment:.2g} steps",
        **({"  refit": f"{_tera(flops.refit)} at most, {_tera(flops.solving)} in float64"} if flops.refit else {}),
        "time": f"{duration(found.seconds(rates))} or more: its arithmetic at the {rates.compute / GIGA:,.0f} GFLOP/s "
        f"of {dtype} and {rates.double / GIGA:,.0f} of float64 just measured on {device}; reading comes on top",
    }


def summary(found: Estimate, rates: Rates) -> str:
    """The same in a line, at the start of a run."""
    device = f", device memory {_gb(found.device)}" if found.needs.device else ""
    return (
        f"estimate: {found.experts} -> {found.work.experts} experts in {found.moe_layers} layers; "
        f"{billions(found.parameters_before)} -> {billions(found.parameters_after)} parameters, "
        f"{_gb(found.bytes_before)} -> {_gb(found.bytes_after)}; memory {_gb(found.host)}{device}, disk "
        f"{_gb(found.needs.disk)}; {_tera(found.flops.total)}, {duration(found.seconds(rates))} or more"
    )


def check_fits(found: Estimate, out: Path, resumed: Path | None = None) -> None:
    """Refuse what this machine has no room for.

    Args:
        found: what is needed.
        out: where the output is to be.
        resumed: folder of an interrupted run, whose files are part of what is needed on disk.

    Raises:
        UserError: memory, disk or the GPU's memory is too small; says what to lower.
    """
    free = free_memory()
    if free is not None and found.host > free:
        raise UserError(_too_much("memory", found.host, free, found.needs.host, found.work))
    on_device = free_device(found.work.device)
    if on_device is not None and found.device > on_device:
        raise UserError(
            _too_much(f"memory of {found.work.device}", found.device, on_device, found.needs.device, found.work)
        )
    disk = free_disk(out) + (size_on_disk(resumed) if resumed else 0)
    if found.needs.disk > disk:
        lower = "calibration.sequences" if found.needs.walking else "the number of experts"
        raise UserError(
            f"{out.absolute()}: about {_gb(found.needs.disk)} of disk are needed while it runs and {_gb(disk)} are "
            f"free; choose another folder or free space, or lower {lower}"
            + (", or leave merge.dtype: bfloat16 away" if found.work.unquantised and found.quantised else "")
        )


def _too_much(what: str, needed: int, free: int, parts: dict[str, int], work: Work) -> str:
    large = sorted((name for name in parts if parts[name] > FEW * needed), key=lambda name: -parts[name])
    advice = list(dict.fromkeys(REMEDIES[name] for name in large if name in REMEDIES))
    if work.dtype == torch.float32:
        advice.append("compute.dtype (bfloat16 takes half)")
    listed = ", ".join(f"{name} {_gb(parts[name])}" for name in large)
    lower = f"lower {' or '.join(advice)}" if advice else "no setting makes them smaller: use a larger machine"
    return f"{what}: about {_gb(needed)} are needed ({listed}) and {_gb(free)} are free; {lower}"


def billions(parameters: int) -> str:
    """A number of parameters with three digits or more, in thousand millions, or in millions where they are fewer."""
    value, unit = (parameters / 1e9, "B") if parameters >= 1e9 else (parameters / 1e6, "M")
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, with two digits."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _gb(size: float) -> str:
    return f"{size / GIGA:,.2f} GB"


def _tera(flops: float) -> str:
    return f"{flops / PETA:,.4g} PFLOP" if flops >= PETA else f"{flops / TERA:.3g} TFLOP"
