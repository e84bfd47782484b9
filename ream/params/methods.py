"""Sections statistics, grouping and methods: what is measured about the experts, and how they are merged."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ream.core.composition import (
    LEAST_SAMPLE,
    PRUNINGS,
    AlignmentTerm,
    Composition,
    GroupingKind,
    MergingKind,
    SaliencyKind,
    ScoresKind,
    SimilarityKind,
    WeightingKind,
)
from ream.errors import UserError
from ream.params.refit import Refit
from ream.params.section import Section


class Statistics(Section):
    """What the walk of the original collects in addition to the sums."""

    probes: int = Field(8192, ge=1, description="S, tokens whose MoE inputs are kept for the alignment")
    dense_tokens: Literal["all", "auto"] | Annotated[int, Field(ge=LEAST_SAMPLE)] = Field(
        "auto",
        description="tokens of each source or mix on which all experts are computed, for means of outputs: all, a "
        "number, or auto: all up to 65536 and beyond that as many as it takes, from 4096 to 16384",
    )
    sequences: Literal["shares", "all"] = Field(
        "shares",
        description="sequences of each source that one-shot methods of the graph measure: shares, as many as its "
        "largest share of any of the run's mixes; or all, so that no mix that is added later runs the model again",
    )
    saliency_batch: int = Field(
        8, ge=1, description="sequences of each source or mix in a batch, for the saliency released-batches"
    )

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The values without later settings that have their default, as in earlier recipes and records."""
        values: dict[str, Any] = handler(self)
        for name in ("dense_tokens", "sequences", "saliency_batch"):
            if values[name] == Statistics.model_fields[name].default:
                del values[name]
        return values


class Grouping(Section):
    """C, the most experts that a centroid absorbs: one number, or a table from experts kept to C."""

    group_size: int | dict[int, int] = Field(
        16, description="C, the most experts that a centroid absorbs: one number, or a table from experts kept to C"
    )

    @model_validator(mode="after")
    def _positive(self) -> "Grouping":
        sizes = self.group_size.values() if isinstance(self.group_size, dict) else [self.group_size]
        if any(size < 1 for size in sizes):
            raise ValueError("group_size must be at least 1, for every number of experts")
        return self

    def size_for(self, experts: int) -> int:
        """C for a number of experts kept.

        Raises:
            UserError: group_size is a table without an entry for this number.
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


class Parts(Section):
    """What becomes of a layer's experts: a saliency, a grouping, a similarity, an alignment and a way to merge.

    With ``merging: mean`` a group becomes the mean of its experts' aligned neurons; with ``neurons`` it keeps those
    neurons that contribute most (docs/refit.md).
    """

    saliency: SaliencyKind = Field(description="how important an expert is")
    grouping: GroupingKind = Field(description="which experts are kept, and which of the others each absorbs")
    similarity: Annotated[list[SimilarityKind], BeforeValidator(_as_list)] = Field(
        [], description="terms that say how alike two experts are"
    )
    alignment: Annotated[list[AlignmentTerm], BeforeValidator(_as_list)] = Field(
        [], description="by what the neurons of merged experts are matched; none: not at all"
    )
    merging: MergingKind = Field("mean", description="the mean of a group's aligned experts, or its best neurons")
    weighting: WeightingKind = Field(
        "saliency",
        description="what an expert weighs in its group's mean: saliency, squared-saliency, frequency (the tokens "
        "routed to it), equal, or centroid (the kept expert alone counts)",
    )
    raise_zeros: bool = Field(
        False, description="a saliency of 0 becomes min(0.5, the layer's smallest other one), as in the released code"
    )

    @model_validator(mode="after")
    def _belong_together(self) -> "Parts":
        if self.grouping in PRUNINGS:
            if self.similarity or self.alignment:
                raise ValueError(f"grouping '{self.grouping}' merges nothing, so it takes no similarity, no alignment")
        elif self.grouping == "hierarchical":
            if self.similarity not in (["output"], ["gated-output"]):
                raise ValueError("grouping 'hierarchical' needs similarity [output] or [gated-output]")
        elif not self.similarity:
            raise ValueError(f"grouping '{self.grouping}' needs a similarity")
        if self.weighting != "saliency" and self.grouping in PRUNINGS:
            raise ValueError(f"grouping '{self.grouping}' merges nothing, so it takes no weighting")
        if self.merging == "neurons" and (self.grouping in PRUNINGS or self.alignment):
            raise ValueError("merging 'neurons' needs a grouping that merges, and takes no alignment")
        for field in ("similarity", "alignment"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} names a term twice: {values}")
        return self

    def dumped(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values without unused extensions of the paper, so that the facts of earlier recipes stay the same."""
        if self.merging == "mean":
            del values["merging"]
        if self.weighting == "saliency":
            del values["weighting"]
        if not self.raise_zeros:
            del values["raise_zeros"]
        return values


class Candidate(Parts):
    """Parts that a method tries in every layer beside its own (docs/refit.md, "best")."""

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return self.dumped(handler(self))


class Method(Parts):
    """A composition of saliency, grouping, similarity and alignment (docs/method.md, "Methods").

    With ``candidates``, other parts are tried in every layer, each with the method's refit; what leaves the least error
    on held-out sequences stays.
    """

    sequential: bool = Field(False, description="decide about a layer on the output of the compressed layers before it")
    scores: ScoresKind = Field(
        "router", description="scores of all experts, p(x): the router's own, or a softmax of its logits"
    )
    centroid_counts: bool = Field(False, description="the group size counts the centroid, as the released code does")
    keep_super_experts: bool = Field(
        False, description="experts whose outputs' norm is an outlier of the whole model stay in any case (one-shot)"
    )
    refit: Refit | None = Field(None, description="a least-squares refit after the merge; null: none")
    candidates: list[Candidate] = Field([], description="other parts, tried beside the method's own in every layer")

    @model_validator(mode="after")
    def _fits(self) -> "Method":
        tried = [self, *self.candidates]
        if not self.sequential:
            if any(parts.merging == "neurons" for parts in tried):
                raise ValueError("merging 'neurons' needs sequential: true: one-shot statistics do not cover neurons")
            if self.refit is not None:
                raise ValueError(
                    "refit needs sequential: true: each layer is fitted on the output of the refitted layers before it"
                )
        elif self.keep_super_experts:
            raise ValueError(
                "keep_super_experts needs sequential: false: outliers are those of all layers, which are known only "
                "once the whole original has been measured"
            )
        if self.keep_super_experts and self.grouping != "pruning":
            raise ValueError("keep_super_experts needs grouping 'pruning', the only one that ranks all experts")
        if self.candidates and self.refit is None:
            raise ValueError("candidates need a refit: they are compared once each is refitted")
        labels = [parts.label for parts in self.composition().tried]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"two candidates are called '{twice}'; candidates differ in saliency, grouping or merging")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The values without unused extensions of the paper, so that the facts of earlier recipes stay the same."""
        values = self.dumped(handler(self))
        if self.refit is None:
            del values["refit"]
        if not self.candidates:
            del values["candidates"]
        if not self.keep_super_experts:
            del values["keep_super_experts"]
        return values

    def one_shot(self) -> "Method":
        """The one-shot relative of a sequential method, on which mixes are searched; a one-shot method itself.

        It has neither refit nor chosen neurons, whose groups are averaged after an alignment by weights instead, and
        the router's own scores.
        """
        if not self.sequential:
            return self
        changes: dict[str, Any] = {"sequential": False, "refit": None, "candidates": [], "scores": "router"}
        if self.merging == "neurons":
            changes |= {"merging": "mean", "alignment": ["weights"]}
        return self.model_copy(update=changes)

    def composition(self) -> Composition:
        """The method as plain values, for rooms that do not import params."""
        tried = [
            Composition(
                saliency=parts.saliency,
                grouping=parts.grouping,
                similarity=tuple(parts.similarity),
                alignment=tuple(parts.alignment),
                merging=parts.merging,
                weighting=parts.weighting,
                raise_zeros=parts.raise_zeros,
                sequential=self.sequential,
                scores=self.scores,
                centroid_counts=self.centroid_counts,
                keep_super_experts=self.keep_super_experts,
                refit=None if self.refit is None else self.refit.options(),
            )
            for parts in (self, *self.candidates)
        ]
        return replace(tried[0], candidates=tuple(tried[1:]))
