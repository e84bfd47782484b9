import itertools

import numpy as np
import pytest

from ream.core.composition import PRUNINGS
from ream.core.grouping import (
    GROUPINGS,
    Experts,
    Groups,
    assignment,
    grouped,
    hierarchical,
    matching,
    merge_weights,
    nearest_centroid,
    pruning,
    pseudo_pruning,
)
from ream.core.pair_pruning import least_together
from tests.core import reference


def owners(groups):
    """Each expert's centroid, −1 for one that goes: the form of the reference."""
    return [-1 if position < 0 else int(groups.kept[position]) for position in groups.group]


def experts_of(saliency, similarity=None, means=None):
    return Experts(
        np.asarray(saliency, dtype=np.float64),
        None if similarity is None else np.asarray(similarity, dtype=np.float64),
        None if means is None else np.asarray(means, dtype=np.float64),
    )


def random_experts(rng, count, tied):
    """Saliency and symmetric similarity; with ties, of a few values only."""
    saliency = rng.integers(0, 3, count).astype(float) if tied else rng.uniform(size=count)
    upper = np.triu(rng.integers(0, 3, (count, count)) / 2 if tied else rng.uniform(size=(count, count)), 1)
    pairs = rng.uniform(size=(count, count))
    return Experts(saliency, upper + upper.T + np.eye(count), rng.normal(size=(count, 4)), pairs + pairs.T)


def cases(limit=8):
    return [(count, kept) for count in range(1, limit + 1) for kept in range(1, count + 1)]


# Pruning


def test_pruning_by_hand():
    # The three most salient of (5, 1, 7, 5, 5): 2, then of the tied 0, 3, 4 the lower two.
    groups = pruning(experts_of([5, 1, 7, 5, 5]), 3, 16)
    assert groups.kept.tolist() == [0, 2, 3]
    assert groups.group.tolist() == [0, -1, 1, 2, -1]


@pytest.mark.parametrize("tied", [True, False])
def test_pruning_matches_loops(rng, tied):
    for count, kept in cases():
        experts = random_experts(rng, count, tied)
        groups = pruning(experts, kept, 1)
        assert owners(groups) == reference.pruning(experts.saliency, kept)
        assert groups.kept.tolist() == sorted(set(owners(groups)) - {-1})


# Pseudo-pruning


def test_pseudo_pruning_by_hand():
    # Saliency ranks 3, 1 as centroids (K = 2). 3 takes its C = 2 most similar of 0, 2, 4, 5: 5 (0.9), then of the tied
    # 0 and 4 (0.7) the lower, 0. Then 1 takes what is left, 2 and 4, though 4 is more similar to 3.
    similarity = np.eye(6)
    similarity[3] = [0.7, 0.0, 0.2, 1.0, 0.7, 0.9]
    similarity[1] = [0.8, 1.0, 0.1, 0.0, 0.3, 0.9]
    groups = pseudo_pruning(experts_of([1, 5, 2, 9, 3, 4], similarity), 2, 2)
    assert groups.kept.tolist() == [1, 3]
    assert groups.group.tolist() == [1, 0, 0, 1, 0, 1]
    assert groups.members(0).tolist() == [1, 2, 4]
    assert groups.members(1).tolist() == [0, 3, 5]


@pytest.mark.parametrize("tied", [True, False])
def test_pseudo_pruning_matches_loops(rng, tied):
    for count, kept in cases():
        experts = random_experts(rng, count, tied)
        smallest = -(-(count - kept) // kept)
        for size in {smallest, smallest + 1, count}:
            groups = pseudo_pruning(experts, kept, size)
            expected = reference.pseudo_pruning(experts.saliency, experts.similarity, kept, size)
            assert owners(groups) == expected
            assert groups.kept.tolist() == sorted(set(expected))


def test_group_size_counts_the_absorbed_experts_only():
    # K·C = 2·2 = N − K = 4, exactly: every group has its centroid and two more.
    groups = pseudo_pruning(experts_of(range(6), np.eye(6)), 2, 2)
    assert np.bincount(groups.group).tolist() == [3, 3]


@pytest.mark.parametrize("router_groups", [1, 2])
@pytest.mark.parametrize(("kept", "size"), [(1, 4), (2, 1), (2, 3), (3, 2)])
def test_group_size_may_be_just_large_enough(kept, size, router_groups):
    """K·C = N − K is accepted; one expert more, or one absorbed expert less, is refused."""

    def groups(count, size):
        experts = experts_of(np.arange(count * router_groups), np.eye(count * router_groups))
        return grouped("pseudo-pruning", experts, kept * router_groups, size, router_groups)

    count = kept + kept * size
    assert np.bincount(groups(count, size).group).tolist() == [1 + size] * kept * router_groups
    for experts, absorbed in ((count + 1, size), (count, size - 1)):
        refusal = f"{kept} centroids that absorb {absorbed} each cannot take {experts - kept} experts"
        with pytest.raises(ValueError, match=refusal):
            groups(experts, absorbed)


def test_fewer_experts_than_one_group_takes_leaves_the_other_centroids_alone():
    # N − K = 2 < C = 16: the most salient centroid, 5, takes both; the others stay alone.
    groups = pseudo_pruning(experts_of([1, 9, 2, 8, 7, 10], np.ones((6, 6))), 4, 16)
    assert owners(groups) == [5, 1, 5, 3, 4, 5]


def test_all_saliencies_and_similarities_equal():
    # Centroids 0 and 1; 0 takes the lowest C = 2 of 2..5.
    groups = pseudo_pruning(experts_of(np.zeros(6), np.ones((6, 6))), 2, 2)
    assert owners(groups) == [0, 1, 0, 0, 1, 1]


# Nearest centroid


def test_nearest_centroid_by_hand():
    # Centroids 3 and 1. Expert 0: 0.4 with 1, 0.6 with 3. Expert 2: 0.5 with both, so 1 though 3 is more salient.
    similarity = np.eye(4)
    similarity[0] = [1.0, 0.4, 0.9, 0.6]
    similarity[2] = [0.9, 0.5, 1.0, 0.5]
    groups = nearest_centroid(experts_of([0, 8, 1, 9], similarity), 2, 1)
    assert groups.kept.tolist() == [1, 3]
    assert groups.group.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("tied", [True, False])
def test_nearest_centroid_matches_loops(rng, tied):
    for count, kept in cases():
        experts = random_experts(rng, count, tied)
        expected = reference.nearest_centroid(experts.saliency, experts.similarity, kept)
        assert owners(nearest_centroid(experts, kept, 1)) == expected


# Hierarchical


def test_hierarchical_by_hand():
    # On a line at 0, 1, 3, 10, 11.5. Joined: {0, 1} at 1, {3, 4} at 1.5, then {0, 1} with 2 at (3 + 2) / 2 = 2.5.
    # K = 2: {0, 1, 2} of mean 4/3, nearest 1 (1/3 away); {3, 4}, both 0.75 from the mean: the lower, 3.
    means = [[0.0], [1.0], [3.0], [10.0], [11.5]]
    groups = hierarchical(experts_of(np.zeros(5), means=means), 2, 1)
    assert owners(groups) == [1, 1, 1, 3, 3]


def test_hierarchical_uses_average_linkage():
    # On a line at 0, 2, 4.1, 7: first {0, 1} at 2. Then {2, 3} at 2.9, for {0, 1} and 2 are (4.1 + 2.1) / 2 = 3.1
    # apart. Single linkage would join these, at 2.1.
    groups = hierarchical(experts_of(np.zeros(4), means=[[0.0], [2.0], [4.1], [7.0]]), 2, 1)
    assert owners(groups) == [0, 0, 2, 2]
    # At 0, 2, 4.5, 8.5, 99: first {0, 1}, then {0, 1} and 2 at (4.5 + 2.5) / 2 = 3.5. Complete linkage would see 4.5
    # there and join 2 with 3, at 4.
    groups = hierarchical(experts_of(np.zeros(5), means=[[0.0], [2.0], [4.5], [8.5], [99.0]]), 3, 1)
    assert owners(groups) == [1, 1, 1, 3, 4]


@pytest.mark.parametrize("seed", range(6))
def test_hierarchical_matches_loops(seed):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(9, 3))
    for kept in range(1, 10):
        groups = hierarchical(experts_of(rng.uniform(size=9), means=means), kept, 1)
        assert owners(groups) == reference.hierarchical(means, kept)


def test_hierarchical_centroid_of_a_pair_is_the_lower_index(rng):
    # Both are equally far from their mean; rounding must not decide.
    for _ in range(50):
        assert owners(hierarchical(experts_of([0, 1], means=rng.normal(size=(2, 16))), 1, 1)) == [0, 0]


def test_hierarchical_with_equal_means():
    # 1, 2 and 4 are the same point, so any of them is the mean: the lowest index.
    means = [[5.0, 0.0], [1.0, 1.0], [1.0, 1.0], [-9.0, 0.0], [1.0, 1.0]]
    assert owners(hierarchical(experts_of(np.zeros(5), means=means), 3, 1)) == [0, 1, 1, 3, 1]


def test_hierarchical_does_not_look_at_saliency(rng):
    means = rng.normal(size=(7, 3))
    groups = [hierarchical(experts_of(rng.uniform(size=7), means=means), 3, 1) for _ in range(2)]
    assert owners(groups[0]) == owners(groups[1])


# Matching


def matched(saliency, similarity, kept):
    """Rounds in plain loops: the most similar pair of groups that neither of has been joined in this round."""
    groups = [[j] for j in range(len(saliency))]
    while len(groups) > kept:
        open_, joined = list(range(len(groups))), []
        while len(open_) > 1 and len(joined) < len(groups) - kept:
            alike = {
                (a, b): np.mean([similarity[i][j] for i in groups[a] for j in groups[b]])
                for a, b in itertools.combinations(open_, 2)
            }
            best = max(alike, key=lambda pair: (round(alike[pair], 9), [-index for index in pair]))
            joined.append(best)
            open_ = [index for index in open_ if index not in best]
        single = [index for index in range(len(groups)) if all(index not in pair for pair in joined)]
        groups = sorted([sorted(groups[a] + groups[b]) for a, b in joined] + [groups[index] for index in single])
    result = [-1] * len(saliency)
    for group in groups:
        for member in group:
            result[member] = max(group, key=lambda j: (saliency[j], -j))
    return result


def test_matching_by_hand():
    # Of five, the first round joins 0 with 3 (0.9), then 1 with 4 (0.3), though 4 is nearer to 0; the second the
    # nearest two of {0, 3}, {1, 4}, {2}: {1, 4} and 2, (0.2 + 0.25) / 2; not the first and second, 0.8 / 4. Centroids:
    # the most salient members.
    similarity = np.eye(5)
    for (i, j), value in {(0, 3): 0.9, (0, 4): 0.8, (1, 4): 0.3, (1, 2): 0.2, (2, 4): 0.25}.items():
        similarity[i, j] = similarity[j, i] = value
    assert owners(matching(experts_of([1, 2, 7, 3, 4], similarity), 3, 1)) == [3, 4, 2, 3, 4]
    assert owners(matching(experts_of([1, 2, 7, 3, 4], similarity), 2, 1)) == [3, 2, 2, 3, 2]


def test_matching_matches_loops(rng):
    for count, kept in cases(9):
        experts = random_experts(rng, count, tied=False)
        assert owners(matching(experts, kept, 1)) == matched(experts.saliency, experts.similarity, kept)


def test_matching_makes_groups_of_equal_size_where_it_can(rng):
    experts = random_experts(rng, 16, tied=True)
    for kept, sizes in ((8, [2] * 8), (4, [4] * 4), (12, [1] * 8 + [2] * 4), (1, [16])):
        assert sorted(np.bincount(matching(experts, kept, 1).group)) == sizes


# Assignment


def assigned(saliency, similarity, kept):
    """Each expert's centroid, by all ways to let dropped experts join kept ones."""
    order = sorted(range(len(saliency)), key=lambda j: (-saliency[j], j))
    centroids, others = sorted(order[:kept]), sorted(order[kept:])
    most = -(-len(others) // kept)
    ways = [
        way
        for way in itertools.product(centroids, repeat=len(others))
        if all(way.count(centroid) <= most for centroid in centroids)
    ]
    best = max(ways, key=lambda way: sum(similarity[i][j] for i, j in zip(others, way, strict=True)))
    joined = dict(zip(others, best, strict=True))
    return [joined.get(j, j) for j in range(len(saliency))]


def test_assignment_by_hand():
    # 3 and 4 stay; each takes two of the others. 0, 1 and 2 are all nearest to 3; 2 is least so, and joins 4.
    similarity = np.eye(5)
    for (i, j), value in {(0, 3): 0.9, (1, 3): 0.8, (2, 3): 0.5, (0, 4): 0.1, (1, 4): 0.2, (2, 4): 0.3}.items():
        similarity[i, j] = similarity[j, i] = value
    assert owners(assignment(experts_of([1, 2, 3, 8, 9], similarity), 2, 1)) == [3, 3, 4, 3, 4]
    # with three kept, one each: 2 is taken by nobody else, so 0 joins 3 and 1 joins 4 (0.9 + 0.2 > 0.1 + 0.8)
    assert owners(assignment(experts_of([1, 2, 3, 8, 9], similarity), 3, 1)) == [3, 4, 2, 3, 4]


def test_assignment_is_the_best_of_all_ways(rng):
    for count, kept in cases(7):
        experts = random_experts(rng, count, tied=False)
        assert owners(assignment(experts, kept, 1)) == assigned(experts.saliency, experts.similarity, kept)


def test_assignment_makes_groups_of_about_equal_size(rng):
    experts = random_experts(rng, 16, tied=True)
    for kept, largest in ((16, 1), (12, 2), (8, 2), (6, 3), (4, 4), (1, 16)):
        sizes = np.bincount(assignment(experts, kept, 1).group)
        assert (len(sizes), sizes.sum(), sizes.max()) == (kept, 16, largest)


# All groupings


@pytest.mark.parametrize("kind", GROUPINGS)
def test_keeping_all_changes_nothing(rng, kind):
    groups = grouped(kind, random_experts(rng, 6, tied=True), 6, 1)
    assert groups.kept.tolist() == groups.group.tolist() == list(range(6))


@pytest.mark.parametrize("kind", GROUPINGS)
def test_keeping_one(rng, kind):
    experts = random_experts(rng, 6, tied=False)
    groups = grouped(kind, experts, 1, 5)
    best = reference.hierarchical(experts.means, 1)[0] if kind == "hierarchical" else np.argmax(experts.saliency)
    if kind == "hope":  # what all others together give is least without it
        best = min(range(6), key=lambda j: experts.pairs[np.ix_(*[[i for i in range(6) if i != j]] * 2)].sum())
    assert groups.kept.tolist() == [best]
    assert groups.group.tolist() == ([0 if j == best else -1 for j in range(6)] if kind in PRUNINGS else [0] * 6)


@pytest.mark.parametrize("kind", GROUPINGS)
def test_one_expert(rng, kind):
    groups = grouped(kind, random_experts(rng, 1, tied=False), 1, 1)
    assert groups.kept.tolist() == groups.group.tolist() == [0]


@pytest.mark.parametrize("kind", GROUPINGS)
def test_arguments_are_left_alone(rng, kind):
    experts = random_experts(rng, 8, tied=False)
    before = [array.copy() for array in (experts.saliency, experts.similarity, experts.means)]
    grouped(kind, experts, 4, 4, router_groups=2)
    for array, copy in zip((experts.saliency, experts.similarity, experts.means), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("kept", [0, -1, 7])
def test_impossible_number_of_experts_is_refused(rng, kept):
    with pytest.raises(ValueError, match=f"{kept} experts cannot be kept of 6"):
        grouped("pruning", random_experts(rng, 6, tied=False), kept, 16)


# Group-limited routers


def test_router_groups_by_hand():
    # Router groups {0, 1, 2} and {3, 4, 5}, K = 2: one of each, 1 and 3, though 3, 4, 5 are all more salient than 1.
    groups = grouped("pruning", experts_of([1, 2, 0, 9, 8, 7]), 2, 16, router_groups=2)
    assert groups.kept.tolist() == [1, 3]
    assert groups.group.tolist() == [-1, 0, -1, 1, -1, -1]
    # Expert 0 is most similar to 3, but stays in its router group.
    similarity = np.eye(6)
    similarity[0, 3] = similarity[3, 0] = 0.9
    groups = grouped("nearest-centroid", experts_of([1, 2, 0, 9, 8, 7], similarity), 2, 16, router_groups=2)
    assert groups.group.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", GROUPINGS)
@pytest.mark.parametrize(("router_groups", "kept"), [(2, 2), (2, 4), (4, 4), (4, 8), (3, 6), (12, 12)])
def test_router_groups_match_one_grouping_each(rng, kind, router_groups, kept):
    experts = random_experts(rng, 12, tied=kind not in ("hierarchical", "assignment"))
    size, count = 5, 12 // router_groups
    expected = []
    for first in range(0, 12, count):
        members = range(first, first + count)
        saliency = [experts.saliency[j] for j in members]
        similarity = [[experts.similarity[i, j] for j in members] for i in members]
        means, pairs = [experts.means[j] for j in members], experts.pairs[np.ix_(members, members)]
        block_owners = {
            "pruning": lambda s=saliency, k=kept // router_groups: reference.pruning(s, k),
            "pseudo-pruning": lambda s=saliency, m=similarity, k=kept // router_groups: reference.pseudo_pruning(
                s, m, k, size
            ),
            "nearest-centroid": lambda s=saliency, m=similarity, k=kept // router_groups: reference.nearest_centroid(
                s, m, k
            ),
            "hierarchical": lambda m=means, k=kept // router_groups: reference.hierarchical(m, k),
            "assignment": lambda s=saliency, m=similarity, k=kept // router_groups: assigned(s, m, k),
            "matching": lambda s=saliency, m=similarity, k=kept // router_groups: matched(s, m, k),
            "hope": lambda f=pairs, k=kept // router_groups: [
                -1 if j in least_together(f, len(f) - k) else j for j in range(len(f))
            ],
        }[kind]()
        expected += [-1 if owner < 0 else owner + first for owner in block_owners]
    groups = grouped(kind, experts, kept, size, router_groups)
    assert owners(groups) == expected
    assert groups.kept.tolist() == sorted(set(expected) - {-1})


@pytest.mark.parametrize(("count", "kept", "router_groups"), [(12, 6, 4), (12, 3, 2), (10, 4, 4), (8, 2, 4)])
def test_experts_that_do_not_divide_into_router_groups_are_refused(rng, count, kept, router_groups):
    with pytest.raises(ValueError, match=f"{kept} of {count} experts do not divide into the router's {router_groups}"):
        grouped("pruning", random_experts(rng, count, tied=False), kept, 16, router_groups)


def test_group_size_is_checked_inside_router_groups(rng):
    # Two centroids for each six experts: 2 · 1 < 4.
    with pytest.raises(ValueError, match="2 centroids that absorb 1 each cannot take 4 experts"):
        grouped("pseudo-pruning", random_experts(rng, 12, tied=False), 4, 1, router_groups=2)


# Merge weights


def test_merge_weights_by_hand():
    # Groups {0, 2} with saliency 1 and 3: 1/4 and 3/4. {1} alone: 1. {3, 5} with 0 and 0: a half each. 4 goes: 0.
    groups = Groups(np.array([0, 1, 3]), np.array([0, 1, 0, 2, -1, 2]))
    weights = merge_weights(np.array([1.0, 5.0, 3.0, 0.0, 7.0, 0.0]), groups)
    assert weights.tolist() == [0.25, 1.0, 0.75, 0.5, 0.0, 0.5]


def test_merge_weights_of_an_expert_never_used_are_zero_beside_others():
    assert merge_weights(np.array([0.0, 2.0]), Groups(np.array([1]), np.array([0, 0]))).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", ["pruning", "pseudo-pruning"])
def test_merge_weights_match_loops(rng, kind):
    for (count, kept), tied in itertools.product(cases(), [True, False]):
        experts = random_experts(rng, count, tied)
        groups = grouped(kind, experts, kept, count)
        weights = merge_weights(experts.saliency, groups)
        np.testing.assert_allclose(weights, reference.merge_weights(experts.saliency, owners(groups)), rtol=1e-12)
        for position in range(kept):
            assert weights[groups.members(position)].sum() == pytest.approx(1.0, abs=1e-12)


def test_merge_weights_do_not_depend_on_the_unit_of_saliency(rng):
    experts = random_experts(rng, 8, tied=False)
    groups = pseudo_pruning(experts, 3, 3)
    np.testing.assert_allclose(
        merge_weights(experts.saliency * 1e-6, groups), merge_weights(experts.saliency, groups), rtol=1e-12
    )
