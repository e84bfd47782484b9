"""A method as a composition of named parts (docs/method.md, "Methods as compositions")."""

from dataclasses import dataclass
from typing import Literal, get_args

SaliencyKind = Literal["frequency", "ean", "reap", "released", "released-batches", "man", "msan"]
SimilarityKind = Literal["gate-logits", "output", "gated-output"]
GroupingKind = Literal["pruning", "pseudo-pruning", "nearest-centroid", "hierarchical", "matching"]
AlignmentTerm = Literal["activations", "weights", "weights-pca"]
MergingKind = Literal["mean", "neurons"]
ScoresKind = Literal["router", "softmax"]
RefitTarget = Literal["layer", "global"]


@dataclass(frozen=True)
class RefitOptions:
    """Options of the least-squares refit after the merge (docs/refit.md).

    Attributes:
        target: "layer" fits the original layer's output on the same input; "global" fits the original model's own
            hidden states, which also corrects the errors of earlier layers.
        ridge: λ, the weight of the penalty that draws the refitted weights to the merged ones.
        sweeps: maximum number of passes over the calibration tokens.
        iterations: maximum number of iterations of the fit of all projections after the refit; 0 for no fit.
    """

    target: RefitTarget
    ridge: float
    sweeps: int
    iterations: int


@dataclass(frozen=True)
class Composition:
    """The parts that make up a method. ream.params checks which of them go together.

    Attributes:
        saliency: how experts are ranked.
        grouping: how experts are assigned to groups.
        similarity: terms of the similarity between experts; empty for pruning.
        alignment: terms of the cost between neurons; empty for no permutation.
        merging: "mean" averages the aligned experts of a group; "neurons" keeps the group's best neurons.
        sequential: whether each layer sees the output of the compressed layers before it.
        scores: p(x), the scores of all experts: the router's own, or a softmax of its logits.
        centroid_counts: whether the group size counts the centroid, as the released code does.
        raise_zeros: whether saliencies of zero are raised to min(0.5, the smallest other one of the layer), as in the
            released code.
        refit: options of the refit; None for no refit.
    """

    saliency: SaliencyKind
    grouping: GroupingKind
    similarity: tuple[SimilarityKind, ...] = ()
    alignment: tuple[AlignmentTerm, ...] = ()
    merging: MergingKind = "mean"
    sequential: bool = False
    scores: ScoresKind = "router"
    centroid_counts: bool = False
    raise_zeros: bool = False
    refit: RefitOptions | None = None


# What a layer's statistics consist of (docs/method.md, "Statistics"); tokens and counts are always among them.
Quantity = Literal[
    "norms", "squared-norms", "batch-norms", "logit-gram", "output-means", "gated-output-means", "probes"
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
}
SIMILARITY_NEEDS: dict[SimilarityKind, Quantity] = {
    "gate-logits": "logit-gram",
    "output": "output-means",
    "gated-output": "gated-output-means",
}


def needs(method: Composition) -> frozenset[Quantity]:
    """What a method needs of a layer's statistics beside counts; nothing else is computed for it.

    Norms and ``logit-gram`` are sums over all tokens, and norms take the experts that tokens are routed to. The two
    means are over the outputs of all experts, of all tokens or of a sample (docs/method.md).
    """
    needed = set(SALIENCY_NEEDS[method.saliency])
    needed.update(SIMILARITY_NEEDS[kind] for kind in method.similarity)
    if "activations" in method.alignment:
        needed.add("probes")
    return frozenset(needed)
