"""The fit of all projections of a layer of a walk: as many experts at a time as memory allows, the rest as they are."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.core.experts import Expert, ExpertStack
from ream.core.refit.projection_fit import FITTED, FitReport, FitSettings, fit_projections, routed_outputs
from ream.core.refit.sums import RefitTokens
from ream.models.moe_block import MoEBlock

FIT_BYTES = 6e9  # on the device, of what is kept of the experts that are fitted at a time
HISTORY = 5
NUMBERS = 2 * HISTORY + 11  # float32 numbers kept of each weight that is fitted


@dataclass(frozen=True)
class FitTokens:
    """The tokens of a layer, on the host, and room for what is left of their errors.

    Attributes:
        inputs, errors, counted, parts: of `refit_layer.LayerTokens`.
        fitted: [n], False for sequences that are held out.
        left: [n, L, H] in float32 at least, to be filled.
    """

    inputs: Tensor
    errors: Tensor
    counted: Tensor
    parts: Callable[[], Iterable[slice]]
    fitted: Tensor
    left: Tensor

    def stream(self, block: MoEBlock, device: torch.device) -> Iterator[RefitTokens]:
        """A pass over the tokens, as the block routes them, with what is left as error."""
        for part, tokens in self.by_part(block, device):
            yield replace(tokens, error=self.left[part][self.counted[part]].to(device))

    def by_part(self, block: MoEBlock, device: torch.device) -> Iterator[tuple[slice, RefitTokens]]:
        """A pass over the tokens and where they lie; error is as it was before the refit."""
        for part in self.parts():
            counted = self.counted[part]
            x, error = (tensor[part][counted].to(device) for tensor in (self.inputs, self.errors))
            if len(x):
                rows = self.fitted[part][:, None].expand(counted.shape)[counted].to(device)
                yield part, RefitTokens(x, block.route(x), error, rows)

    def put(self, part: slice, values: Tensor) -> None:
        """What is left of a part's tokens."""
        self.left[part][self.counted[part]] = values.to(self.left.device, self.left.dtype)

    def add(self, part: slice, values: Tensor) -> None:
        """To what is left of a part's tokens."""
        self.left[part][self.counted[part]] += values.to(self.left.device, self.left.dtype)


@torch.no_grad()
def fit_layer(
    block: MoEBlock, down: Tensor, tokens: FitTokens, iterations: int, device: torch.device, at_a_time: int
) -> tuple[dict[str, Tensor], FitReport]:
    """New projections of all experts of a layer.

    Args:
        block: the compressed one, before its refit. down: [K, H, D], refitted.
        tokens: of the layer. iterations: of L-BFGS for each part of the experts.
        device: to compute on. at_a_time: experts that are fitted together.

    Returns:
        gate, up [K, D, H] and down [K, H, D] on the device, and the layer's squared errors on the way.
    """
    every = range(len(block.experts))
    stack = refitted_stack(block.experts, down)
    before = [block.experts[expert] for expert in every]
    for part, some in tokens.by_part(block, device):
        given = routed_outputs(some, [stack[expert] for expert in every], every, block.unit)
        tokens.put(part, some.error + routed_outputs(some, before, every, block.unit) - given)
    report = FitReport([], [])
    for start in range(0, len(stack), at_a_time):
        which = range(start, min(start + at_a_time, len(stack)))
        _shift(tokens, block, [stack[expert] for expert in which], which, device, 1.0)
        fitted, found = fit_projections(
            lambda: tokens.stream(block, device),
            stack,
            block.unit,
            which,
            FitSettings(iterations, history=HISTORY),
        )
        for name in FITTED:
            getattr(stack, name)[start : which.stop] = fitted[name]
        _shift(tokens, block, [stack[expert] for expert in which], which, device, -1.0)
        report = FitReport(report.fitted + found.fitted[bool(start) :], report.held_out + found.held_out[bool(start) :])
    return {name: getattr(stack, name) for name in FITTED}, report


def refitted_stack(experts: ExpertStack, down: Tensor) -> ExpertStack:
    """A copy of the experts with refitted down projections, in their precision."""
    return replace(
        experts,
        gate=experts.gate.to(down.dtype, copy=True),
        up=experts.up.to(down.dtype, copy=True),
        down=down.clone(),
    )


def experts_at_a_time(hidden: int, width: int) -> int:
    """How many have all that a fit keeps of them in FIT_BYTES; at least one.

    Args:
        hidden: H. width: D.
    """
    numbers = NUMBERS * 3 * hidden * width + 2 * (hidden**2 + width**2)
    return max(1, int(FIT_BYTES // (torch.float32.itemsize * numbers)))


def _shift(
    tokens: FitTokens, block: MoEBlock, experts: list[Expert], which: range, device: torch.device, sign: float
) -> None:
    """Add what some experts give to what is left, or take it off."""
    for part, some in tokens.by_part(block, device):
        tokens.add(part, sign * routed_outputs(some, experts, which, block.unit))
