"""A method as a composition of named parts (docs/method.md, "Methods as compositions")."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SaliencyKind = Literal["frequency", "ean", "reap", "released"]
SimilarityKind = Literal["gate-logits", "output", "gated-output"]
GroupingKind = Literal["pruning", "pseudo-pruning", "nearest-centroid", "hierarchical", "matching"]
AlignmentTerm = Literal["activations", "weights"]
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
    refit: RefitOptions | None = None


def needs_all_outputs(similarity: Iterable[SimilarityKind]) -> bool:
    """Whether a method needs the outputs of all experts on all tokens, not only of those that tokens are routed to.

    Counts, norms of routed outputs and gate logits are enough for pruning, and for merging by gate logits.

    Args:
        similarity: terms of the similarity between experts; none for pruning.
    """
    return any(kind != "gate-logits" for kind in similarity)
