"""The refit of one layer of a walk: which tokens are held out, and what is kept of it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ream.compress.fit_layer import FitTokens, experts_at_a_time, fit_layer
from ream.core.composition import RefitOptions
from ream.core.recipe import LayerRecipe
from ream.core.refit.refit import RefitSettings, refit
from ream.core.refit.sums import RefitTokens, product_dtype
from ream.models.decoder import Decoder
from ream.models.dtypes import DTYPES
from ream.models.family.architecture import Architecture
from ream.models.family.layout import PARTS
from ream.models.moe_block import MoEBlock
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import PLAIN, CompressedLayer

DIRECT = 4096  # columns K·D up to which the refit's whole matrix is kept: 134 MB in float64, three times at once
HELD_OUT = 16  # of so many sequences one is held out
SOLVER_BYTES = 6e9  # of the solver's totals on the device, beside A_j and its factors; bounds the outputs at a time
TOTALS = 6  # float64 numbers the solver keeps for each weight that it solves for


@dataclass(frozen=True)
class LayerTokens:
    """The tokens of a layer, on the host.

    Attributes:
        inputs: [n, L, H] of the MoE layer.
        errors: [n, L, H], target minus the compressed layer's output.
        counted: [n, L], False for padding.
        parts: starts a pass over the micro-batches.
        room: gives a tensor [n, L, H] of a name and dtype, to be filled.
    """

    inputs: Tensor
    errors: Tensor
    counted: Tensor
    parts: Callable[[], Iterable[slice]]
    room: Callable[[str, torch.dtype], Tensor]

    def stream(self, block: MoEBlock, device: torch.device) -> Iterator[RefitTokens]:
        """A pass over the tokens, as a block routes them; those of held-out sequences are not fitted to."""
        fitted = ~held_out_mask(len(self.inputs))
        for part in self.parts():
            counted = self.counted[part]
            x, error = (tensor[part][counted].to(device) for tensor in (self.inputs, self.errors))
            if len(x):
                rows = fitted[part][:, None].expand(counted.shape)[counted].to(device)
                yield RefitTokens(x, block.route(x), error, rows)


@dataclass(frozen=True)
class LayerRefit:
    """Squared errors of a layer's output, summed over tokens and outputs.

    Attributes:
        fitted, held_out: before and after each sweep, then after each round of the fit of all projections; of weights
            in float32.
        rounds: of that fit.
        written, written_held_out: of what is written, in the checkpoint's dtype or format; before the refit where that
            was better on fitted tokens.
        kept: whether it was not.
    """

    fitted: list[float]
    held_out: list[float]
    rounds: int
    written: float
    written_held_out: float
    kept: bool

    def tensors(self) -> dict[str, Tensor]:
        """To be kept with the layer's decisions."""
        return {
            "refit.fitted": torch.tensor(self.fitted, dtype=torch.float64),
            "refit.held_out": torch.tensor(self.held_out, dtype=torch.float64),
            "refit.rounds": torch.tensor(self.rounds),
            "refit.written": torch.tensor([self.written, self.written_held_out], dtype=torch.float64),
        }


def summary(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The facts of a layer's refit, of `LayerRefit.tensors`: sweeps, rounds of the fit of all projections where
    there are any, and the shares of the squared error left."""
    fitted, held_out = tensors["refit.fitted"].tolist(), tensors["refit.held_out"].tolist()
    written, written_held_out = tensors["refit.written"].tolist()
    rounds = int(tensors["refit.rounds"])
    return {
        "sweeps": len(fitted) - 1 - rounds,
        **({"rounds": rounds} if rounds else {}),
        "left": round(written / fitted[0], 6) if fitted[0] else 1.0,
        "left_held_out": round(written_held_out / held_out[0], 6) if held_out[0] else None,
    }


def held_out_sequences(sequences: int) -> int:
    """How many are held out."""
    return max(1, sequences // HELD_OUT) if sequences > 1 else 0


def held_out_mask(sequences: int) -> Tensor:
    """Which sequences are held out, [n]: one of HELD_OUT, at least one of two or more, evenly spread."""
    mask = torch.zeros(sequences, dtype=torch.bool)
    count = held_out_sequences(sequences)
    for number in range(count):
        mask[(2 * number + 1) * sequences // (2 * count)] = True
    return mask


def refit_layer(
    decoder: Decoder, index: int, decided: LayerRecipe, before: MoEBlock, tokens: LayerTokens, settings: RefitOptions
) -> tuple[LayerRecipe, MoEBlock, LayerRefit]:
    """Refit a layer's down projections, then fit all projections where the method says so.

    Args:
        decoder: of the model. index: of the layer.
        decided: what becomes of its experts. before: the block that has these experts.
        tokens: of the layer. settings: of the method.

    Returns:
        The recipe with corrections of the experts that fitted tokens are routed to, the block that has them as they
        will be written, and the errors. Recipe and block as they were, where what is written would not be better.
    """
    checkpoint, architecture = decoder.checkpoint, decoder.architecture
    down, report = refit(
        lambda: tokens.stream(before, decoder.device),
        before.experts,
        before.unit,
        RefitSettings(
            settings.ridge, settings.sweeps, outputs=outputs_at_a_time(len(before.experts), architecture), direct=DIRECT
        ),
    )
    projections, fitted, held_out = {"down": down}, report.fitted, report.held_out
    if settings.iterations:
        left = tokens.room("left", product_dtype(tokens.errors.dtype))
        every = FitTokens(
            tokens.inputs, tokens.errors, tokens.counted, tokens.parts, ~held_out_mask(len(tokens.inputs)), left
        )
        at_a_time = experts_at_a_time(architecture.hidden, architecture.width)
        moved, found = fit_layer(before, down, every, settings.iterations, decoder.device, at_a_time)
        if len(found.fitted) > 1:
            projections, fitted, held_out = moved, fitted + found.fitted[1:], held_out + found.held_out[1:]
    dtypes = correction_dtypes(checkpoint, CompressedLayer(checkpoint, architecture, index, decided))
    corrections = {
        position: {
            part: tensor[position].to(device="cpu", dtype=dtypes[part]).contiguous()
            for part, tensor in projections.items()
        }
        for position, count in enumerate(report.tokens)
        if count
    }
    corrected = replace(decided, corrections=corrections)
    after = decoder.block(index, CompressedLayer(checkpoint, architecture, index, corrected))
    written, written_held_out = _squared_errors(decoder, before, after, tokens)
    rounds = len(fitted) - len(report.fitted)
    if written <= fitted[0]:
        return corrected, after, LayerRefit(fitted, held_out, rounds, written, written_held_out, kept=True)
    return decided, before, LayerRefit(fitted, held_out, rounds, fitted[0], held_out[0], kept=False)


def outputs_at_a_time(experts: int, architecture: Architecture) -> int:
    """Of the H outputs, those that are solved at a time where K experts are refitted by sweeps."""
    numbers = TOTALS * torch.float64.itemsize * experts * architecture.width
    return min(architecture.hidden, max(1, int(SOLVER_BYTES // numbers)))


def correction_dtypes(checkpoint: Checkpoint, layer: CompressedLayer) -> dict[str, torch.dtype]:
    """In which corrections of each projection are stored: its own, bfloat16 where it is quantised."""
    names = {part: layer.name(kind, layer.kept[0]) for kind in layer.architecture.layout for part in PARTS[kind.part]}
    return {
        part: DTYPES[PLAIN if checkpoint.quantised(name) else checkpoint.headers_of(name)[""].dtype]
        for part, name in names.items()
    }


@torch.no_grad()
def _squared_errors(decoder: Decoder, before: MoEBlock, after: MoEBlock, tokens: LayerTokens) -> tuple[float, float]:
    """What the block leaves that is written, over fitted and over held-out tokens."""
    fitted = torch.zeros((), dtype=torch.float64, device=decoder.device)
    held = fitted.clone()
    for some in tokens.stream(before, decoder.device):
        moved = after(some.x[None])[0].float() - before(some.x[None])[0].float()
        squares = (some.error.float() - moved).double().square().sum(1)
        fitted += squares[some.fitted].sum()
        held += squares[~some.fitted].sum()
    return float(fitted), float(held)
