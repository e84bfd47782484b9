"""The refit of one layer of a walk: which sequences are held out, what is solved, and whether it is accepted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.compress.fit_layer import FitTokens, experts_at_a_time, fit_layer
from ream.compress.refit_errors import LayerRefit
from ream.core.composition import RefitOptions
from ream.core.recipe import LayerRecipe
from ream.core.refit.output_coordinates import OutputCoordinates, output_coordinates
from ream.core.refit.refit import RefitSettings, refit
from ream.core.refit.sums import RefitTokens, Total, own, product_dtype
from ream.models.decoder import Decoder
from ream.models.dtypes import DTYPES
from ream.models.family.architecture import Architecture
from ream.models.family.layout import PARTS
from ream.models.moe_block import MoEBlock
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import PLAIN, CompressedLayer

DIRECT = 4096  # largest number of columns K·D that is solved at once: 134 MB in float64, three times in memory
HELD_OUT = 16  # one of this many sequences is held out
SOLVER_BYTES = (
    6e9  # for the solver's totals on the device, beside A_j and its factors; bounds the outputs solved at a time
)
TOTALS = 6  # float64 numbers that the solver keeps for each weight it solves for


@dataclass(frozen=True)
class LayerTokens:
    """The tokens of a layer, on the host.

    Attributes:
        inputs: [n, L, H] inputs of the MoE block.
        errors: [n, L, H], target minus the compressed layer's output.
        counted: [n, L], False for padding.
        parts: starts a pass over the micro-batches.
        room: gives an uninitialised tensor [n, L, E] of a name, a dtype and a size E.
        held_out: [n], True for sequences that are held out.
        total: of all processes that share the sequences.
    """

    inputs: Tensor
    errors: Tensor
    counted: Tensor
    parts: Callable[[], Iterable[slice]]
    room: Callable[[str, torch.dtype, int], Tensor]
    held_out: Tensor
    total: Total = own

    def stream(self, block: MoEBlock, device: torch.device, coordinates: OutputCoordinates) -> Iterator[RefitTokens]:
        """A pass over the tokens.

        Args:
            block: routes the tokens.
            device: to put them on.
            coordinates: of the errors.

        Yields:
            What experts are given of the tokens of a micro-batch; those of held-out sequences are marked as not fitted.
        """
        for x, error, fitted in self.batches(device):
            yield RefitTokens(block.expert_inputs(x), block.route(x), coordinates.errors(error), fitted)

    def batches(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """A pass over the tokens: the block's inputs [T, H], errors [T, H], and True for tokens that are fitted."""
        fitted = ~self.held_out
        for part in self.parts():
            counted = self.counted[part]
            x, error = (tensor[part][counted].to(device) for tensor in (self.inputs, self.errors))
            if len(x):
                rows = fitted[part][:, None].expand(counted.shape)[counted].to(device)
                yield x, error, rows


def held_out_sequences(sequences: int) -> int:
    """The number of held-out sequences."""
    return max(1, sequences // HELD_OUT) if sequences > 1 else 0


def held_out_mask(sequences: int) -> Tensor:
    """Marks the held-out sequences, [n]: one in HELD_OUT, evenly spread; at least one of two or more sequences."""
    mask = torch.zeros(sequences, dtype=torch.bool)
    count = held_out_sequences(sequences)
    for number in range(count):
        mask[(2 * number + 1) * sequences // (2 * count)] = True
    return mask


def refit_layer(
    decoder: Decoder, index: int, decided: LayerRecipe, before: MoEBlock, tokens: LayerTokens, settings: RefitOptions
) -> tuple[LayerRecipe, MoEBlock, LayerRefit]:
    """Refit a layer's down projections, then fit all projections if the method says so.

    Args:
        decoder: of the model.
        index: of the layer.
        decided: the layer's recipe before the refit.
        before: the MoE block with the experts of that recipe.
        tokens: of the layer.
        settings: of the method's refit.

    Returns:
        The recipe with corrections for the experts that fitted tokens are routed to, the block with these corrections
        as they will be written, and the errors. If what would be written is no better on fitted tokens, recipe and
        block are returned unchanged.
    """
    checkpoint, architecture = decoder.checkpoint, decoder.architecture
    coordinates = output_coordinates(before.output_map(architecture.hidden))
    experts = coordinates.entered(before.experts)
    down, report = refit(
        lambda: tokens.stream(before, decoder.device, coordinates),
        experts,
        before.unit,
        RefitSettings(
            settings.ridge, settings.sweeps, outputs=outputs_at_a_time(len(before.experts), architecture), direct=DIRECT
        ),
        tokens.total,
    )
    projections, fitted, held_out = {"down": down}, report.fitted, report.held_out
    if settings.iterations:
        left = tokens.room("left", product_dtype(tokens.errors.dtype), coordinates.size(architecture.hidden))
        fit_tokens = FitTokens(
            tokens.inputs, tokens.errors, tokens.counted, tokens.parts, ~tokens.held_out, left, coordinates,
            tokens.total,
        )  # fmt: skip
        at_a_time = experts_at_a_time(architecture.expert_hidden, architecture.width, len(architecture.projections))
        moved, fit = fit_layer(before, experts, down, fit_tokens, settings.iterations, decoder.device, at_a_time)
        if len(fit.fitted) > 1:
            projections, fitted, held_out = moved, fitted + fit.fitted[1:], held_out + fit.held_out[1:]
    projections["down"] = coordinates.left(projections["down"], before.experts.down)
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
    written, written_held_out = _squared_errors(decoder, before, after, tokens, coordinates)
    rounds = len(fitted) - len(report.fitted)
    if written <= fitted[0]:
        return corrected, after, LayerRefit(fitted, held_out, rounds, written, written_held_out, accepted=True)
    return decided, before, LayerRefit(fitted, held_out, rounds, fitted[0], held_out[0], accepted=False)


def outputs_at_a_time(experts: int, architecture: Architecture) -> int:
    """The number of the experts' H outputs that are solved at a time when experts are refitted by sweeps.

    Args:
        experts: K.
        architecture: of the model.
    """
    numbers = TOTALS * torch.float64.itemsize * experts * architecture.width
    return min(architecture.expert_hidden, max(1, int(SOLVER_BYTES // numbers)))


def correction_dtypes(checkpoint: Checkpoint, layer: CompressedLayer) -> dict[str, torch.dtype]:
    """The dtype in which each projection's corrections are stored: the projection's own, bfloat16 if quantised."""
    names = {part: layer.name(kind, layer.kept[0]) for kind in layer.architecture.layout for part in PARTS[kind.part]}
    return {
        part: DTYPES[PLAIN if checkpoint.quantised(name) else checkpoint.headers_of(name)[""].dtype]
        for part, name in names.items()
    }


@torch.no_grad()
def _squared_errors(
    decoder: Decoder, before: MoEBlock, after: MoEBlock, tokens: LayerTokens, coordinates: OutputCoordinates
) -> tuple[float, float]:
    """Squared errors of the block ``after`` on fitted and held-out tokens; those of ``before`` are `errors`."""
    fitted = torch.zeros((), dtype=torch.float64, device=decoder.device)
    held = fitted.clone()
    for x, error, fit in tokens.batches(decoder.device):
        moved = after(x[None])[0].float() - before(x[None])[0].float()
        squares = coordinates.errors(error.float() - moved).double().square().sum(1)
        fitted += squares[fit].sum()
        held += squares[~fit].sum()
    return float(tokens.total(fitted)), float(tokens.total(held))
