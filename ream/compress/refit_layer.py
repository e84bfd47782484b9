"""The refit of one layer of a walk: what is solved, and whether it is accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ream.compress.fit_layer import FitTokens, experts_at_a_time, fit_layer
from ream.compress.layer_tokens import LayerTokens
from ream.compress.refit_errors import LayerRefit
from ream.core.composition import RefitOptions
from ream.core.experts import ExpertStack
from ream.core.recipe import LayerRecipe
from ream.core.refit.output_coordinates import OutputCoordinates, output_coordinates
from ream.core.refit.projection_fit import FitReport
from ream.core.refit.refit import RefitSettings, refit
from ream.core.refit.sums import product_dtype
from ream.models.decoder import Decoder
from ream.models.dtypes import DTYPES
from ream.models.family.architecture import Architecture
from ream.models.family.layout import PARTS
from ream.models.moe_block import MoEBlock
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import PLAIN, CompressedLayer

DIRECT = 4096  # largest number of columns K·D that is solved at once: 134 MB in float64, three times in memory
SOLVER_BYTES = (
    6e9  # for the solver's totals on the device, beside A_j and its factors; bounds the outputs solved at a time
)
TOTALS = 6  # float64 numbers that the solver keeps for each weight it solves for


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
        solver_settings(settings, len(before.experts), architecture),
        tokens.total,
    )
    projections, fitted, held_out = {"down": down}, report.fitted, report.held_out
    if settings.iterations:
        moved, fit = fitted_further(decoder, before, experts, down, tokens, coordinates, settings.iterations)
        if len(fit.fitted) > 1:
            projections, fitted, held_out = moved, fitted + fit.fitted[1:], held_out + fit.held_out[1:]
    projections["down"] = coordinates.left(projections["down"], before.experts.down)
    corrected = with_corrections(decoder, index, decided, projections, report.tokens)
    after = decoder.block(index, CompressedLayer(checkpoint, architecture, index, corrected))
    written, written_held_out = _squared_errors(decoder, before, after, tokens, coordinates)
    rounds = len(fitted) - len(report.fitted)
    if written <= fitted[0]:
        return corrected, after, LayerRefit(fitted, held_out, rounds, written, written_held_out, accepted=True)
    return decided, before, LayerRefit(fitted, held_out, rounds, fitted[0], held_out[0], accepted=False)


def solver_settings(settings: RefitOptions, experts: int, architecture: Architecture) -> RefitSettings:
    """How K experts are refitted."""
    ridge = RefitSettings.ridge if settings.ridge is None else settings.ridge
    return RefitSettings(ridge, settings.sweeps, outputs=outputs_at_a_time(experts, architecture), direct=DIRECT)


def fitted_further(
    decoder: Decoder,
    block: MoEBlock,
    experts: ExpertStack,
    down: Tensor,
    tokens: LayerTokens,
    coordinates: OutputCoordinates,
    iterations: int,
) -> tuple[dict[str, Tensor], FitReport]:
    """A layer's projections after the fit of all of them, and the squared errors on the way; see `fit_layer`."""
    architecture = decoder.architecture
    left = tokens.room("left", product_dtype(tokens.errors.dtype), coordinates.size(architecture.hidden))
    at_a_time = experts_at_a_time(architecture.expert_hidden, architecture.width, len(architecture.projections))
    fit_tokens = FitTokens(tokens, left, coordinates)
    return fit_layer(block, experts, down, fit_tokens, iterations, decoder.device, at_a_time)


def with_corrections(
    decoder: Decoder, index: int, decided: LayerRecipe, projections: Mapping[str, Tensor], tokens: Sequence[int]
) -> LayerRecipe:
    """A layer's recipe with corrections, in the dtypes of a recipe.

    Args:
        decoder: of the model.
        index: of the layer.
        decided: the recipe.
        projections: refitted ones of all kept experts, by part.
        tokens: fitted tokens routed to each expert; an expert without any keeps its weights.
    """
    dtypes = correction_dtypes(
        decoder.checkpoint, CompressedLayer(decoder.checkpoint, decoder.architecture, index, decided)
    )
    corrections = {
        position: {
            part: tensor[position].to(device="cpu", dtype=dtypes[part]).contiguous()
            for part, tensor in projections.items()
        }
        for position, count in enumerate(tokens)
        if count
    }
    return replace(decided, corrections=corrections)


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
