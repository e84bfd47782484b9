"""The choice among candidates for one layer, each refitted, by the error on held-out sequences (docs/refit.md, "best").

The first candidate as it is before a refit is the plain method. What replaces it leaves less error than it does. An
error is the fraction of a token's hidden state that is wrong, since what follows in the model normalises hidden states:
a token's squared error is divided by the square of the original's hidden state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.compress.layer_tokens import LayerTokens
from ream.compress.refit_errors import LayerChoice
from ream.compress.refit_layer import fitted_further, solver_settings, with_corrections
from ream.core.composition import RefitOptions
from ream.core.experts import ExpertStack
from ream.core.recipe import LayerRecipe
from ream.core.refit.choice import chosen_candidate, fraction_left
from ream.core.refit.chosen_ridge import BEGIN, RIDGES, HeldOut, refit_with_chosen_ridge
from ream.core.refit.output_coordinates import OutputCoordinates, output_coordinates
from ream.core.refit.refit import refit
from ream.errors import UserError
from ream.models.decoder import Decoder
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import CompressedLayer

FITTED = 2  # candidates that are fitted further: those with the least error after the refit


@dataclass(frozen=True)
class Trial:
    """A candidate after its refit.

    Attributes:
        candidate: its place among the candidates.
        decided: the layer's recipe.
        errors: [S], squared errors on held-out tokens of each source, of the weights as they are written.
        ridge: λ; None where no refit helped.
        tokens: fitted tokens routed to each kept expert.
        rounds: of the fit of all projections.
    """

    candidate: int
    decided: LayerRecipe
    errors: Tensor
    ridge: float | None
    tokens: list[int]
    rounds: int = 0


class Candidates:
    """Tries the candidates of one layer."""

    def __init__(
        self, decoder: Decoder, index: int, tokens: LayerTokens, targets: Tensor, settings: RefitOptions
    ) -> None:
        """Try nothing yet.

        Args:
            decoder: of the model.
            index: of the layer.
            tokens: of the layer; their errors are set here, for one candidate after the other.
            targets: [n, L, H] of the layer's output.
            settings: of the method's refit.
        """
        self._decoder, self._index, self._settings = decoder, index, settings
        self._tokens, self._targets = tokens, targets

    @torch.no_grad()
    def chosen(self, candidates: Sequence[LayerRecipe]) -> tuple[LayerRecipe, MoEBlock, LayerChoice]:
        """What becomes of the layer: its recipe, the block that the recipe makes, and the choice.

        Args:
            candidates: recipes without corrections, the plain method first, then in the order in which ties are broken.

        Raises:
            UserError: no held-out token reaches the layer.
        """
        trials: list[Trial] = []
        for number, decided in enumerate(candidates):
            block = self._entered(decided)
            if not number:
                plain = self._tokens.squares(self._kept_errors, held_out=True)
                plain_fitted = self._tokens.squares(self._kept_errors, held_out=False)
                self._check_held_out()
            trials.append(self._refitted(number, decided, block, plain, self._begin(trials)))
            del block
        promising = sorted(range(len(trials)), key=lambda number: fraction_left(trials[number].errors, plain))
        promising = promising[: FITTED if self._settings.iterations else 1]
        if self._settings.ridge is None:
            for number in filter(None, promising):  # the first has its own λ
                trials[number] = self._with_own_ridge(trials[number], candidates[number], plain, self._begin(trials))
        if self._settings.iterations:
            further = [self._fitted(trials[number]) for number in promising]
            trials += [fitted for fitted in further if fitted is not None]
        best = chosen_candidate([trial.errors for trial in trials], plain)
        decided = candidates[0] if best is None else trials[best].decided
        return decided, self._block(decided), _choice(trials, best, plain, plain_fitted)

    def _block(self, decided: LayerRecipe) -> MoEBlock:
        """The block of a recipe, with its experts as they will be written."""
        weights = CompressedLayer(self._decoder.checkpoint, self._decoder.architecture, self._index, decided)
        return self._decoder.block(self._index, weights)

    def _entered(self, decided: LayerRecipe) -> MoEBlock:
        """The block of a recipe; the tokens' errors become what its output lacks."""
        block, tokens = self._block(decided), self._tokens
        for part in tokens.parts():
            given = block(tokens.inputs[part].to(self._decoder.device)).to(self._targets.device)
            tokens.errors[part] = self._targets[part] - given
        return block

    def _kept_errors(self, part: slice, rows: Tensor) -> Tensor:
        """The errors of the block that was entered last."""
        return self._tokens.errors[part][rows]

    def _held_out_errors(self, block: MoEBlock) -> Tensor:
        """[S]: squared errors of a block on the held-out tokens of each source."""

        def left(part: slice, rows: Tensor) -> Tensor:
            x = self._tokens.inputs[part][rows].to(self._decoder.device)
            given: Tensor = block(x[None])[0].to(self._targets.device)
            return self._targets[part][rows].float() - given.float()

        return self._tokens.squares(left, held_out=True)

    @staticmethod
    def _begin(trials: Sequence[Trial]) -> float | None:
        """The λ with which candidates are compared: the best for the first, or the strongest; None before the first."""
        if not trials:
            return None
        return RIDGES[0] if trials[0].ridge is None else trials[0].ridge

    def _with_own_ridge(self, trial: Trial, decided: LayerRecipe, plain: Tensor, begin: float | None) -> Trial:
        """A trial, refitted with the λ that is best for it; as it was where none is better when it is written."""
        again = self._refitted(trial.candidate, decided, self._entered(decided), plain, begin, alone=False)
        return again if fraction_left(again.errors, plain) < fraction_left(trial.errors, plain) else trial

    def _refitted(
        self, number: int, decided: LayerRecipe, block: MoEBlock, plain: Tensor, begin: float | None, alone: bool = True
    ) -> Trial:
        """A candidate whose errors are set, after its refit; as it was where no refit helps.

        Args:
            number: its place.
            decided: its recipe, without corrections.
            block: of the recipe.
            plain: errors of the plain method.
            begin: λ that is tried first; None where nothing is known of λ yet.
            alone: try no other, if there is one to begin with.
        """
        coordinates, experts = self._coordinates(block)
        architecture, device, tokens = self._decoder.architecture, self._decoder.device, self._tokens
        settings = solver_settings(self._settings, len(experts), architecture)
        before = plain if not number else tokens.squares(self._kept_errors, held_out=True)
        if self._settings.ridge is None:
            held_out = HeldOut(
                lambda: tokens.held_out_stream(block, device, coordinates),
                tokens.held_out.sources,
                lambda errors: fraction_left(errors.cpu(), plain),
            )
            found = refit_with_chosen_ridge(
                lambda: tokens.stream(block, device, coordinates), held_out, experts, block.unit, settings,
                tokens.total, BEGIN if begin is None else begin, alone and begin is not None,
            )  # fmt: skip
            down, ridge, routed = found.down, found.ridge, found.tokens
        else:
            down, report = refit(
                lambda: tokens.stream(block, device, coordinates), experts, block.unit, settings, tokens.total
            )
            ridge, routed = self._settings.ridge, report.tokens
        unchanged = Trial(number, decided, before, None, routed)
        if ridge is None:
            return unchanged
        projections = {"down": coordinates.left(down, block.experts.down)}
        trial = self._written(unchanged, projections, ridge=ridge)
        return trial if fraction_left(trial.errors, plain) < fraction_left(before, plain) else unchanged

    def _fitted(self, trial: Trial) -> Trial | None:
        """A trial after the fit of all its projections; None where no round of it helped."""
        block = self._entered(trial.decided)
        coordinates, experts = self._coordinates(block)
        projections, report = fitted_further(
            self._decoder, block, experts, experts.down, self._tokens, coordinates, self._settings.iterations
        )
        rounds = len(report.fitted) - 1
        if rounds < 1:
            return None
        projections["down"] = coordinates.left(projections["down"], block.experts.down)
        return self._written(trial, projections, ridge=trial.ridge, rounds=rounds)

    def _written(self, trial: Trial, projections: dict[str, Tensor], ridge: float | None, rounds: int = 0) -> Trial:
        """The trial with these projections as they will be written, and its errors with them."""
        corrected = with_corrections(self._decoder, self._index, trial.decided, projections, trial.tokens)
        errors = self._held_out_errors(self._block(corrected))
        return replace(trial, decided=corrected, errors=errors, ridge=ridge, rounds=rounds)

    def _coordinates(self, block: MoEBlock) -> tuple[OutputCoordinates, ExpertStack]:
        """The coordinates of a block's errors, and its experts in them."""
        coordinates = output_coordinates(block.output_map(self._decoder.architecture.hidden))
        return coordinates, coordinates.entered(block.experts)

    def _check_held_out(self) -> None:
        """Refuse a layer that no held-out token reaches."""
        held = self._tokens.counted & self._tokens.held_out.held[:, None]
        if not float(self._tokens.total(held.sum().double())):
            raise UserError(
                f"layer {self._index}: no token of a held-out sequence counts there, so nothing can be chosen; use "
                "longer or more calibration sequences (calibration.tokens, calibration.sequences)"
            )


def _choice(trials: Sequence[Trial], best: int | None, plain: Tensor, plain_fitted: Tensor) -> LayerChoice:
    """The choice in numbers."""
    chosen = None if best is None else trials[best]
    return LayerChoice(
        candidate=0 if chosen is None else chosen.candidate,
        ridge=None if chosen is None else chosen.ridge,
        rounds=0 if chosen is None else chosen.rounds,
        refitted=chosen is not None and bool(chosen.decided.corrections),
        left_held_out=1.0 if chosen is None else fraction_left(chosen.errors, plain),
        left_by_source=(torch.ones_like(plain) if chosen is None else _ratio(chosen.errors, plain)).tolist(),
        tried=[(trial.candidate, trial.rounds, fraction_left(trial.errors, plain)) for trial in trials],
        before=float(plain_fitted.sum()),
    )


def _ratio(errors: Tensor, before: Tensor) -> Tensor:
    """What is left of each source's error; 1 where there was none."""
    return torch.where(before > 0, errors / before.clamp_min(torch.finfo(before.dtype).tiny), 1.0)
