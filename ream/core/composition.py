"""A method as a composition of named parts (docs/method.md, "Methods as compositions")."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

SaliencyKind = Literal["frequency", "ean", "reap", "released", "released-batches", "man", "msan", "energy"]
SimilarityKind = Literal["gate-logits", "output", "gated-output"]
GroupingKind = Literal[
    "pruning", "hope", "pseudo-pruning", "nearest-centroid", "hierarchical", "matching", "assignment"
]
AlignmentTerm = Literal["activations", "weights", "weights-pca"]
MergingKind = Literal["mean", "neurons"]
WeightingKind = Literal["saliency", "squared-saliency", "frequency", "equal", "centroid"]
ScoresKind = Literal["router", "softmax"]
RefitTarget = Literal["layer", "global"]
PRUNINGS: frozenset[GroupingKind] = frozenset({"pruning", "hope"})  # groupings that merge nothing
HELD_OUT_SHARE = 0.1  # of each source's sequences, where something is chosen by the error on held-out sequences


@dataclass(frozen=True)
class RefitOptions:
    """Options of the least-squares refit after the merge (docs/refit.md).

    Attributes:
        target: "layer" fits the original layer's output on the same input; "global" fits the original model's own
            hidden states, which also corrects the errors of earlier layers.
        ridge: λ, the weight of the penalty that draws the refitted weights to the merged ones; None: each layer has
            the λ with the least error on held-out sequences.
        sweeps: maximum number of passes over the calibration tokens.
        iterations: maximum number of passes of the fit of all projections after the refit; 0 for no fit.
        holdout: fraction of each source's sequences that is held out of everything, seeded; None: one sequence of 16,
            evenly spread, is held out of the refit alone.
        router: whether the router's rows are fitted first, to the original's logits of the kept experts.
    """

    target: RefitTarget
    ridge: float | None
    sweeps: int
    iterations: int
    holdout: float | None = None
    router: bool = False


@dataclass(frozen=True)
class Composition:
    """The parts that make up a method. ream.params checks which of them go together.

    Attributes:
        saliency: how experts are ranked.
        grouping: how experts are assigned to groups.
        similarity: terms of the similarity between experts; empty for pruning.
        alignment: terms of the cost between neurons; empty for no permutation.
        merging: "mean" averages the aligned experts of a group; "neurons" keeps the group's best neurons.
        weighting: what an expert weighs in its group's mean: its saliency, the square of it, the number of tokens
            routed to it, or the same as every other; "centroid": the kept expert alone counts.
        sequential: whether each layer sees the output of the compressed layers before it.
        scores: p(x), the scores of all experts: the router's own, or a softmax of its logits.
        centroid_counts: whether the group size counts the centroid, as the released code does.
        raise_zeros: whether saliencies of zero are raised to min(0.5, the smallest other one of the layer), as in the
            released code.
        keep_super_experts: whether experts whose outputs' norm is an outlier of the whole model stay, whatever their
            saliency (`ream.core.super_experts`); one-shot methods alone know the whole model.
        refit: options of the refit; None for no refit.
        candidates: other parts, tried beside these in every layer; of each the saliency, grouping, similarity,
            alignment, merging, weighting and raise_zeros count. Empty: there is no choice.
    """

    saliency: SaliencyKind
    grouping: GroupingKind
    similarity: tuple[SimilarityKind, ...] = ()
    alignment: tuple[AlignmentTerm, ...] = ()
    merging: MergingKind = "mean"
    weighting: WeightingKind = "saliency"
    sequential: bool = False
    scores: ScoresKind = "router"
    centroid_counts: bool = False
    raise_zeros: bool = False
    keep_super_experts: bool = False
    refit: RefitOptions | None = None
    candidates: tuple["Composition", ...] = ()

    @property
    def tried(self) -> tuple["Composition", ...]:
        """What is tried in every layer: these parts, then the candidates."""
        return (replace(self, candidates=()), *self.candidates)

    @property
    def chooses(self) -> bool:
        """Whether each layer's parts or ridge are chosen by the error on held-out sequences."""
        return bool(self.candidates) or (self.refit is not None and self.refit.ridge is None)

    @property
    def label(self) -> str:
        """What the parts are called where one of several candidates is named, such as "ean" or "matching neurons"."""
        if self.grouping in PRUNINGS:
            return self.saliency if self.grouping == "pruning" else self.grouping
        return f"{self.grouping} {self.saliency}{' neurons' if self.merging == 'neurons' else ''}"


# What a layer's statistics consist of (docs/method.md, "Statistics"); tokens and counts are always among them.
Quantity = Literal[
    "norms",
    "squared-norms",
    "batch-norms",
    "peak-norms",
    "pair-norms",
    "logit-gram",
    "output-means",
    "gated-output-means",
    "probes",
]
LEAST_SAMPLE = 256  # tokens of the smallest sample for means of outputs: 16 blocks of 16 (`ream.core.output_sample`)
ALL_QUANTITIES: frozenset[Quantity] = frozenset(get_args(Quantity))
OUTPUT_MEANS: frozenset[Quantity] = frozenset({"output-means", "gated-output-means"})
NORMS: frozenset[Quantity] = frozenset({"norms"})
SALIENCY_NEEDS: dict[SaliencyKind, frozenset[Quantity]] = {
    "frequency": frozenset(),
    "ean": NORMS,
    "reap": NORMS,
    "released": NORMS,
    "released-batches": NORMS | {"batch-norms"},
    "man": NORMS,
    "msan": NORMS | {"squared-norms"},
    "energy": NORMS | {"pair-norms"},
}
SIMILARITY_NEEDS: dict[SimilarityKind, Quantity] = {
    "gate-logits": "logit-gram",
    "output": "output-means",
    "gated-output": "gated-output-means",
}


def needs(method: Composition) -> frozenset[Quantity]:
    """What a method needs of a layer's statistics beside counts; nothing else is computed for it.

    Norms and ``logit-gram`` are sums over all tokens, and norms take the experts that tokens are routed to. The two
    means are over the outputs of all experts, of all tokens or of a sample (docs/method.md). Candidates share what is
    measured.
    """
    needed: set[Quantity] = set()
    for parts in method.tried:
        needed |= SALIENCY_NEEDS[parts.saliency]
        needed.update(SIMILARITY_NEEDS[kind] for kind in parts.similarity)
        if "activations" in parts.alignment:
            needed.add("probes")
        if parts.grouping == "hope":
            needed |= NORMS | {"pair-norms"}
        if parts.keep_super_experts:
            needed |= NORMS | {"peak-norms"}
    return frozenset(needed)
