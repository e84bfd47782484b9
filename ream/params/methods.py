"""Sections statistics, grouping and methods: what is measured of the experts, and what is made of it."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ream.core.composition import (
    AlignmentTerm,
    Composition,
    GroupingKind,
    MergingKind,
    RefitOptions,
    RefitTarget,
    SaliencyKind,
    ScoresKind,
    SimilarityKind,
)
from ream.errors import UserError
from ream.params.section import Section


class Statistics(Section):
    """What the pass over the original keeps beside the sums."""

    probes: int = Field(8192, ge=1, description="S: tokens whose MoE inputs are kept for the alignment")


class Grouping(Section):
    """C, the most experts a centroid absorbs: one number, or one for each number of experts kept."""

    group_size: int | dict[int, int] = 16

    @model_validator(mode="after")
    def _positive(self) -> "Grouping":
        sizes = self.group_size.values() if isinstance(self.group_size, dict) else [self.group_size]
        if any(size < 1 for size in sizes):
            raise ValueError("group_size must be at least 1")
        return self

    def size_for(self, experts: int) -> int:
        """C when ``experts`` are kept.

        Raises:
            UserError: group_size is a table that lacks this number of experts.
        """
        if isinstance(self.group_size, int):
            return self.group_size
        if experts not in self.group_size:
            raise UserError(
                f"grouping.group_size has no entry for {experts} experts; it has {sorted(self.group_size)}: add one"
            )
        return self.group_size[experts]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Refit(Section):
    """Least-squares refit of the down projections after the merge (docs/refit.md), beyond the paper.

    ``target``: of a layer's output, the original layer's on the same input, or with the original model's own hidden
    states, so that errors of the layers before are taken back, too. ``iterations``: of a fit of gate, up and down
    projections together that follows; 0 for none.
    """

    target: RefitTarget = "global"
    ridge: float = Field(1e-3, ge=0, description="λ, by which the weights are drawn to the merged ones")
    sweeps: int = Field(20, ge=1, description="passes over the calibration tokens at most")
    iterations: int = Field(0, ge=0, description="of the fit of all projections, about a pass over the tokens each")

    @model_serializer(mode="wrap")
    def _without_a_fit(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out the fit where there is none: the facts of such recipes stay as they were."""
        values: dict[str, Any] = handler(self)
        return values if self.iterations else {key: values[key] for key in values if key != "iterations"}

    def options(self) -> RefitOptions:
        """The same as plain values."""
        return RefitOptions(self.target, self.ridge, self.sweeps, self.iterations)


class Method(Section):
    """A composition of saliency, grouping, similarity and alignment (docs/method.md, "Methods as compositions").

    ``merging``: the experts of a group become the mean of their aligned neurons, or (docs/refit.md) those of their
    neurons that do most.
    """

    saliency: SaliencyKind
    grouping: GroupingKind
    similarity: Annotated[list[SimilarityKind], BeforeValidator(_as_list)] = []
    alignment: Annotated[list[AlignmentTerm], BeforeValidator(_as_list)] = []
    merging: MergingKind = "mean"
    sequential: bool = False
    scores: ScoresKind = "router"
    centroid_counts: bool = Field(False, description="the group size counts the centroid, as the released code does")
    refit: Refit | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Method":
        if self.grouping == "pruning":
            if self.similarity or self.alignment:
                raise ValueError("grouping 'pruning' merges nothing, so it takes no similarity and no alignment")
        elif self.grouping == "hierarchical":
            if self.similarity not in (["output"], ["gated-output"]):
                raise ValueError("grouping 'hierarchical' needs similarity [output] or [gated-output]")
        elif not self.similarity:
            raise ValueError(f"grouping '{self.grouping}' needs a similarity")
        if self.merging == "neurons":
            if self.grouping == "pruning" or self.alignment:
                raise ValueError("merging 'neurons' needs a grouping that merges, and takes no alignment")
            if not self.sequential:
                raise ValueError("merging 'neurons' needs sequential: true: one-shot statistics say nothing of neurons")
        for field in ("similarity", "alignment"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} names a term twice: {values}")
        if self.refit is not None and not self.sequential:
            raise ValueError("refit needs sequential: true: a layer is fitted to what the refitted ones before it give")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what is beyond the paper where it is not asked for: other recipes' facts stay as they were."""
        values: dict[str, Any] = handler(self)
        if self.merging == "mean":
            del values["merging"]
        if self.refit is None:
            del values["refit"]
        return values

    def composition(self) -> Composition:
        """The same as plain values, for what does not read params."""
        return Composition(
            saliency=self.saliency,
            grouping=self.grouping,
            similarity=tuple(self.similarity),
            alignment=tuple(self.alignment),
            merging=self.merging,
            sequential=self.sequential,
            scores=self.scores,
            centroid_counts=self.centroid_counts,
            refit=None if self.refit is None else self.refit.options(),
        )
