"""The fit of all projections of one layer of a walk, for as many experts at a time as memory allows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.compress.layer_tokens import LayerTokens
from ream.core.experts import Expert, ExpertStack
from ream.core.refit.output_coordinates import OutputCoordinates
from ream.core.refit.projection_fit import FitReport, FitSettings, fit_projections
from ream.core.refit.projection_passes import Steps, fitted_parts, routed_outputs
from ream.core.refit.sums import RefitTokens
from ream.models.moe_block import MoEBlock

FIT_BYTES = 6e9  # on the device, for the experts that are fitted at a time
PIECE = 4096  # tokens of a step whose gradients are computed at a time
NUMBERS = 12  # float32 numbers kept for each weight that is fitted


@dataclass(frozen=True)
class FitTokens:
    """The tokens of a layer, and room for the errors that are left during the fit.

    Attributes:
        tokens: of the layer.
        left: [n, L, E] of the coordinates, float32 or wider: the errors that are left, to be filled.
        coordinates: of the errors that are left.
    """

    tokens: LayerTokens
    left: Tensor
    coordinates: OutputCoordinates

    def stream(self, block: MoEBlock, device: torch.device) -> Iterator[RefitTokens]:
        """A pass over the tokens as the block routes them; their error is what is left."""
        for part, tokens in self.by_part(block, device):
            yield replace(tokens, error=self.left[part][self.tokens.counted[part]].to(device))

    def steps(self, block: MoEBlock, device: torch.device) -> Steps:
        """Passes over the fitted tokens in other orders; their error is what is left."""
        shuffle = self.tokens.shuffle()

        def pieces(batch: Tensor) -> Iterator[RefitTokens]:
            for places in batch.split(PIECE) if len(batch) else []:
                tokens = self.tokens.at(places, block, device, self.coordinates)
                yield replace(tokens, error=self.left.flatten(0, 1)[places].to(device))

        def batches(number: int) -> Iterator[Iterator[RefitTokens]]:
            self.tokens.told()
            yield from map(pieces, shuffle.batches(number))

        return Steps(shuffle.steps, batches)

    def by_part(self, block: MoEBlock, device: torch.device) -> Iterator[tuple[slice, RefitTokens]]:
        """A pass over the tokens and the rows they come from; their error is the one before the refit."""
        return self.tokens.by_part(block, device, self.coordinates)

    def put(self, part: slice, values: Tensor) -> None:
        """Set what is left of a part's errors."""
        self.left[part][self.tokens.counted[part]] = values.to(self.left.device, self.left.dtype)

    def add(self, part: slice, values: Tensor) -> None:
        """Add to what is left of a part's errors."""
        self.left[part][self.tokens.counted[part]] += values.to(self.left.device, self.left.dtype)


@torch.no_grad()
def fit_layer(
    block: MoEBlock,
    experts: ExpertStack,
    down: Tensor,
    tokens: FitTokens,
    iterations: int,
    device: torch.device,
    at_a_time: int,
) -> tuple[dict[str, Tensor], FitReport]:
    """Fit all projections of a layer, starting from the refitted down projections.

    Args:
        block: the compressed MoE block before the refit.
        experts: its experts in the coordinates of the errors; so are ``down`` and the result.
        down: [K, H, D] refitted down projections.
        tokens: of the layer.
        iterations: most passes over the tokens for each set of experts that is fitted together.
        device: to compute on.
        at_a_time: number of experts that are fitted together.

    Returns:
        gate (where there is one) and up [K, D, H] and down [K, H, D] on the device, and the layer's squared errors on
        the way.
    """
    all_experts = range(len(experts))
    stack = refitted_stack(experts, down)
    before = [experts[expert] for expert in all_experts]
    for part, batch in tokens.by_part(block, device):
        refitted = routed_outputs(batch, [stack[expert] for expert in all_experts], all_experts, block.unit)
        tokens.put(part, batch.error + routed_outputs(batch, before, all_experts, block.unit) - refitted)
    report = FitReport([], [])
    for start in range(0, len(stack), at_a_time):
        which = range(start, min(start + at_a_time, len(stack)))
        _shift(tokens, block, [stack[expert] for expert in which], which, device, 1.0)
        fitted, fit = fit_projections(
            lambda: tokens.stream(block, device),
            tokens.steps(block, device),
            stack,
            block.unit,
            which,
            FitSettings(iterations),
            tokens.tokens.total,
        )
        for name, tensor in fitted.items():
            getattr(stack, name)[start : which.stop] = tensor
        _shift(tokens, block, [stack[expert] for expert in which], which, device, -1.0)
        new = slice(bool(start), None)  # the error before the first set's fit is reported once
        report = FitReport(report.fitted + fit.fitted[new], report.held_out + fit.held_out[new])
    return {name: getattr(stack, name) for name in fitted_parts(stack)}, report


def refitted_stack(experts: ExpertStack, down: Tensor) -> ExpertStack:
    """A copy of the experts with other down projections, in the dtype of these.

    Args:
        experts: of the compressed block.
        down: [K, H, D].
    """
    rows = {name: getattr(experts, name).to(down.dtype, copy=True) for name in fitted_parts(experts) if name != "down"}
    return replace(experts, **rows, down=down.clone())


def experts_at_a_time(hidden: int, width: int, projections: int = 3) -> int:
    """The number of experts that can be fitted together in FIT_BYTES; at least one.

    Args:
        hidden: H, of the experts' inputs.
        width: D.
        projections: matrices of an expert.
    """
    numbers = NUMBERS * projections * hidden * width + 2 * (hidden**2 + width**2)
    return max(1, int(FIT_BYTES // (torch.float32.itemsize * numbers)))


def _shift(
    tokens: FitTokens, block: MoEBlock, experts: list[Expert], which: range, device: torch.device, sign: float
) -> None:
    """Add the output of some experts to what is left (sign 1), or subtract it (sign −1)."""
    for part, batch in tokens.by_part(block, device):
        tokens.add(part, sign * routed_outputs(batch, experts, which, block.unit))
