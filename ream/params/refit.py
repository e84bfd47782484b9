"""The section refit of a method: least squares on a layer's output after its experts are pruned or merged."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ream.core.composition import RefitOptions, RefitTarget
from ream.params.section import Section

LATER = ("iterations", "holdout", "router")  # settings that earlier recipes do not have


class Refit(Section):
    """Least-squares refit of the down projections after the merge (docs/refit.md), beyond the paper.

    The ``target`` of a layer's output is what the original layer gives: ``layer`` on the same input as the compressed
    layer, ``global`` in the original model, so that the refit also corrects the errors of earlier layers. A fit of the
    gate, up and down projections together follows for ``iterations`` passes over the tokens.
    """

    target: RefitTarget = Field("global", description="what a layer's output is fitted to")
    ridge: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        1e-3,
        description="λ, the strength of the pull towards the merged weights; auto: each layer's own, by held-out error",
    )
    sweeps: int = Field(20, ge=1, description="largest number of passes over the calibration tokens")
    iterations: int = Field(
        0, ge=0, description="largest number of passes over the tokens of the fit of all projections; 0: no fit"
    )
    holdout: float | None = Field(
        None,
        gt=0,
        le=0.5,
        description="fraction of each source's sequences, drawn by calibration.seed, that nothing but choices and the "
        "end of the fit depends on [default: 0.1 with ridge: auto or candidates; else one sequence of 16 is held out "
        "of the refit alone]",
    )
    router: bool = Field(
        False, description="fit the rows of the router first, to the original's logits of the kept experts"
    )

    @model_validator(mode="after")
    def _two_streams(self) -> "Refit":
        if self.router and self.target != "global":
            raise ValueError("router: true needs target: global, which walks the original beside the compressed model")
        return self

    @model_serializer(mode="wrap")
    def _without_later_settings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The values without later settings that have their default, so that the facts of earlier recipes stay."""
        values: dict[str, Any] = handler(self)
        unused = [name for name in LATER if values[name] == Refit.model_fields[name].default]
        return {key: value for key, value in values.items() if key not in unused}

    def options(self) -> RefitOptions:
        """The section as plain values."""
        ridge = None if self.ridge == "auto" else self.ridge
        return RefitOptions(self.target, ridge, self.sweeps, self.iterations, self.holdout, self.router)
