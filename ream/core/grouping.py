"""Grouping N experts into K groups, each with one centroid that stays."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from ream.core.composition import GroupingKind
from ream.core.pair_pruning import least_together
from ream.core.saliency import ranked


@dataclass(frozen=True)
class Experts:
    """The statistics of a layer's experts that groupings use.

    Attributes:
        saliency: saliency of each expert.
        similarity: similarity of each pair, for pseudo-pruning, nearest-centroid and matching.
        means: mean output of each expert, for hierarchical clustering.
        pairs: F of each pair, for hope.
    """

    saliency: Float64[np.ndarray, " N"]
    similarity: Float64[np.ndarray, "N N"] | None = None
    means: Float64[np.ndarray, "N H"] | None = None
    pairs: Float64[np.ndarray, "N N"] | None = None

    def take(self, members: Int64[np.ndarray, " n"]) -> "Experts":
        """The statistics of n of the experts, in the order of ``members``."""
        return Experts(
            self.saliency[members],
            None if self.similarity is None else self.similarity[np.ix_(members, members)],
            None if self.means is None else self.means[members],
            None if self.pairs is None else self.pairs[np.ix_(members, members)],
        )


@dataclass(frozen=True)
class Groups:
    """Which experts stay, and which of them every other expert is merged into.

    Attributes:
        kept: the centroids, ascending.
        group: each expert's group as an index into ``kept``; −1 for a dropped expert.
    """

    kept: Int64[np.ndarray, " K"]
    group: Int64[np.ndarray, " N"]

    def members(self, position: int) -> Int64[np.ndarray, " m"]:
        """The experts, ascending, in the group of the centroid at that position in ``kept``."""
        return np.flatnonzero(self.group == position)


def pruning(experts: Experts, kept: int, group_size: int) -> Groups:
    """The K most salient stay, the others are dropped (Freq, EAN, REAP); ``group_size`` is not used."""
    return _groups(ranked(experts.saliency)[:kept], np.full(len(experts.saliency), -1))


def hope(experts: Experts, kept: int, group_size: int) -> Groups:
    """Those experts are dropped that together give the least, by F (HOPE); ``group_size`` is not used."""
    assert experts.pairs is not None
    count = len(experts.saliency)
    dropped = least_together(experts.pairs, count - kept)
    return _groups(np.setdiff1d(np.arange(count), dropped), np.full(count, -1))


def pseudo_pruning(experts: Experts, kept: int, group_size: int) -> Groups:
    """REAM's grouping: in decreasing saliency, each centroid absorbs up to C unassigned others, the most similar first.

    Ties go to the lower index. No expert is left over.

    Args:
        experts: saliency and similarity of the N experts.
        kept: K.
        group_size: C, the most experts that a centroid absorbs.

    Raises:
        ValueError: K·C < N − K, so some experts could not be absorbed.
    """
    count = len(experts.saliency)
    if kept * group_size < count - kept:
        raise ValueError(f"{kept} centroids that absorb {group_size} each cannot take {count - kept} experts")
    assert experts.similarity is not None
    order = ranked(experts.saliency)
    centroids, free = order[:kept], np.sort(order[kept:])
    owner = np.full(count, -1)
    for centroid in centroids:
        nearest = free[np.argsort(-experts.similarity[centroid, free], kind="stable")][:group_size]
        owner[nearest] = centroid
        free = np.setdiff1d(free, nearest)
    return _groups(centroids, owner)


def nearest_centroid(experts: Experts, kept: int, group_size: int) -> Groups:
    """M-SMoE's grouping: every other expert joins its most similar centroid; ties go to the lower index.

    ``group_size`` is not used: a centroid may absorb any number.
    """
    assert experts.similarity is not None
    order = ranked(experts.saliency)
    centroids = np.sort(order[:kept])
    owner = np.full(len(order), -1)
    for expert in order[kept:]:
        owner[expert] = centroids[np.argmax(experts.similarity[expert, centroids])]
    return _groups(centroids, owner)


def hierarchical(experts: Experts, kept: int, group_size: int) -> Groups:
    """HC-SMoE's grouping: average linkage on Euclidean distances of the mean outputs, cut at K clusters.

    The centroid is the member nearest to its cluster's mean; ties go to the lower index. ``group_size`` is not used.
    """
    # These imports take half a second, which the other groupings need not wait for.
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import pdist, squareform

    assert experts.means is not None
    count = len(experts.saliency)
    if kept == count:
        return _groups(np.arange(count), np.full(count, -1))
    labels = cut_tree(linkage(experts.means, method="average", metric="euclidean"), n_clusters=kept)[:, 0]
    owner, centroids = np.full(count, -1), []
    for label in range(kept):
        members = np.flatnonzero(labels == label)
        # A member's squared distances to all members sum to n‖m − mean‖² + a constant. Unlike distances to the mean,
        # they are equal for the two members of a pair, so that rounding does not break their tie.
        distance = squareform(pdist(experts.means[members], "sqeuclidean")).sum(axis=1)
        owner[members] = members[np.argmin(distance)]
        centroids.append(members[np.argmin(distance)])
    return _groups(np.array(centroids), owner)


def matching(experts: Experts, kept: int, group_size: int) -> Groups:
    """Groups of about equal size: rounds that each join pairs of groups, the most similar pair first.

    A round joins every group with another, or only as many pairs as K requires; sizes are equal where N / K is a power
    of two. The similarity of two groups is the mean over their pairs of experts; ties go to the lower indices. The
    centroid is the most salient member. ``group_size`` is not used. Beyond the paper (docs/refit.md).
    """
    assert experts.similarity is not None
    groups = [[expert] for expert in range(len(experts.saliency))]
    while len(groups) > kept:
        member = np.zeros((len(groups), len(experts.saliency)))
        for row, group in enumerate(groups):
            member[row, group] = 1.0 / len(group)
        alike = member @ experts.similarity @ member.T
        rows, columns = np.triu_indices(len(groups), 1)
        joined: dict[int, int] = {}
        for pair in ranked(alike[rows, columns]):
            first, second = int(rows[pair]), int(columns[pair])
            if len(joined) // 2 < len(groups) - kept and first not in joined and second not in joined:
                joined |= {first: second, second: first}
        groups = [
            sorted(group + (groups[joined[row]] if row in joined else []))
            for row, group in enumerate(groups)
            if joined.get(row, row) >= row
        ]
    owner = np.empty(len(experts.saliency), dtype=np.int64)
    centroids = [group[int(ranked(experts.saliency[group])[0])] for group in groups]
    for centroid, group in zip(centroids, groups, strict=True):
        owner[group] = centroid
    return _groups(np.array(centroids), owner)


def assignment(experts: Experts, kept: int, group_size: int) -> Groups:
    """The K most salient stay; every other joins one of them, and similarities add up to the most that is possible.

    A centroid takes at most ⌈(N − K) / K⌉, so that groups have about equal size. It is an assignment problem, solved
    exactly (scipy). ``group_size`` is not used. Beyond the paper (docs/refit.md).
    """
    from scipy.optimize import linear_sum_assignment  # half a second, which the other groupings need not wait for

    assert experts.similarity is not None
    order = ranked(experts.saliency)
    centroids, others = np.sort(order[:kept]), np.sort(order[kept:])
    places = np.tile(centroids, -(-len(others) // kept))
    rows, columns = linear_sum_assignment(experts.similarity[np.ix_(others, places)], maximize=True)
    owner = np.full(len(order), -1)
    owner[others[rows]] = places[columns]
    return _groups(centroids, owner)


GROUPINGS: dict[GroupingKind, Callable[[Experts, int, int], Groups]] = {
    "pruning": pruning,
    "hope": hope,
    "pseudo-pruning": pseudo_pruning,
    "nearest-centroid": nearest_centroid,
    "hierarchical": hierarchical,
    "matching": matching,
    "assignment": assignment,
}


def grouped(kind: GroupingKind, experts: Experts, kept: int, group_size: int, router_groups: int = 1) -> Groups:
    """Groups of the named kind.

    The groups of a group-limited router are grouped one by one, and K / n_group experts of each are kept.

    Args:
        kind: a key of GROUPINGS.
        experts: saliency and similarity of the N experts.
        kept: K.
        group_size: C, the most experts that a centroid absorbs (pseudo-pruning).
        router_groups: n_group of the router; its groups are runs of N / n_group consecutive experts.

    Raises:
        ValueError: K is not between 1 and N, n_group does not divide K or N, or the grouping itself refuses.
    """
    count = len(experts.saliency)
    if not 1 <= kept <= count:
        raise ValueError(f"{kept} experts cannot be kept of {count}")
    if kept % router_groups or count % router_groups:
        raise ValueError(f"{kept} of {count} experts do not divide into the router's {router_groups} groups")
    if router_groups == 1:
        return GROUPINGS[kind](experts, kept, group_size)
    blocks = np.arange(count).reshape(router_groups, -1)
    stay = kept // router_groups
    parts = [GROUPINGS[kind](experts.take(block), stay, group_size) for block in blocks]
    return Groups(
        np.concatenate([block[part.kept] for block, part in zip(blocks, parts, strict=True)]),
        np.concatenate([np.where(part.group < 0, -1, part.group + index * stay) for index, part in enumerate(parts)]),
    )


def merge_weights(saliency: Float64[np.ndarray, " N"], groups: Groups) -> Float64[np.ndarray, " N"]:
    """Weight of each expert in its group's mean: s_j / sum of the group's s.

    Weights are equal where all saliencies of a group are 0, and 0 for dropped experts.
    """
    weights = np.zeros_like(saliency)
    for position in range(len(groups.kept)):
        members = groups.members(position)
        total = saliency[members].sum()
        weights[members] = saliency[members] / total if total > 0 else 1.0 / len(members)
    return weights


def _groups(centroids: np.ndarray, owner: np.ndarray) -> Groups:
    """Groups from the centroids, in any order, and each expert's centroid (−1: none); centroids own themselves."""
    kept = np.sort(centroids).astype(np.int64)
    owner = owner.copy()
    owner[kept] = kept
    group = np.searchsorted(kept, np.maximum(owner, 0)).astype(np.int64)
    return Groups(kept, np.where(owner < 0, -1, group))
