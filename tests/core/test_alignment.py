import itertools
import weakref

import numpy as np
import pytest
import torch

from ream.core.alignment import Features, align, align_groups, cost_dtype, cost_matrix, neuron_features
from ream.core.assignments import assignment
from ream.core.experts import Expert
from ream.core.merging import merged
from tests.core import reference
from tests.core.layers import float64, plain, random_expert, silu_unit

TERM_SETS = [["activations", "weights"], ["activations"], ["weights"]]


@pytest.fixture
def probes(rng):
    return torch.from_numpy(rng.normal(size=(11, 4))).float()


def cost_of(centroid, member, terms, probes):
    return cost_matrix(*(neuron_features(expert, terms, probes, silu_unit) for expert in (centroid, member))).numpy()


def test_weight_features_by_hand():
    # Neuron 0: gate row (1, 2), up row (2, 0), down column (0, 4): norm sqrt(1 + 4 + 4 + 16) = 5. Neuron 1: all zero.
    expert = Expert(
        gate=torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        up=torch.tensor([[2.0, 0.0], [0.0, 0.0]]),
        down=torch.tensor([[0.0, 0.0], [4.0, 0.0]]),
    )
    features = neuron_features(expert, ["weights"], None, silu_unit)
    assert list(features) == ["weights"]
    np.testing.assert_allclose(features["weights"].columns[:, 0], [0.2, 0.4, 0.4, 0.0, 0.0, 0.8], rtol=1e-12)
    assert features["weights"].columns[:, 1].tolist() == [0.0] * 6
    np.testing.assert_allclose(features["weights"].squares, [1.0, 0.0], rtol=1e-12)


def test_activation_features_by_hand():
    # One input, gate 1, up 3, relu: probes x = 1, -1, 2 give h = 1·3, 0, 2·6 = 3, 0, 12: norm sqrt(153).
    expert = Expert(torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([[7.0]]))
    features = neuron_features(
        expert, ["activations"], torch.tensor([[1.0], [-1.0], [2.0]]), lambda gate, up: gate.relu() * up
    )
    np.testing.assert_allclose(features["activations"].columns[:, 0], np.array([3.0, 0.0, 12.0]) / 153**0.5, rtol=1e-12)


def test_cost_by_hand():
    # Weights term: the centroid's neurons (1, 0), (0, 1), the member's (0, 1), (-1, 0): distances sqrt 2, 2; 0, sqrt 2.
    # Activations term: the centroid's (1), (1), the member's (1), (-1): distances 0, 2; 0, 2. The cost is their sum.
    # Best: a = 0 with b = 0 and a = 1 with b = 1 costs 2 sqrt 2 + 2 = 4.83; crosswise 2 + 2 + 0 + 0 = 4: so [1, 0].
    def unit_columns(*rows):
        return Features(torch.tensor(rows).double(), torch.ones(2).double())

    centroid = {"weights": unit_columns([1.0, 0.0], [0.0, 1.0]), "activations": unit_columns([1.0, 1.0])}
    member = {"weights": unit_columns([0.0, -1.0], [1.0, 0.0]), "activations": unit_columns([1.0, -1.0])}
    cost = cost_matrix(centroid, member)
    np.testing.assert_allclose(cost, [[2**0.5, 4.0], [0.0, 2**0.5 + 2.0]], atol=1e-12)
    assert assignment(cost).tolist() == [1, 0]


@pytest.mark.parametrize("terms", TERM_SETS, ids="+".join)
def test_cost_matches_loops(rng, probes, terms):
    centroid, member = random_expert(rng), random_expert(rng)
    expected = reference.alignment_cost(plain(centroid), plain(member), terms, float64(probes))
    np.testing.assert_allclose(cost_of(centroid, member, terms, probes), expected, atol=1e-5)


def test_assignment_brings_the_members_neuron_to_the_centroids_position():
    # The cycle 0 <- 2, 1 <- 0, 2 <- 1, which is not its own inverse.
    cost = torch.ones(3, 3, dtype=torch.float64)
    cost[0, 2] = cost[1, 0] = cost[2, 1] = 0.0
    assert assignment(cost).tolist() == [2, 0, 1]


def test_assignment_is_optimal_where_greedy_is_not():
    # Greedy takes 0 at (0, 0) and pays 9 at (1, 1); crosswise costs 1 + 2.
    assert assignment(torch.tensor([[0.0, 1.0], [2.0, 9.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_assignment_has_the_least_cost_of_all_permutations(rng, width):
    for _ in range(3):
        cost = rng.uniform(size=(width, width))
        permutation = assignment(torch.from_numpy(cost))
        least, best = reference.least_cost(cost)
        assert permutation.tolist() == list(best)
        assert cost[np.arange(width), permutation].sum() == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("terms", TERM_SETS, ids="+".join)
@pytest.mark.parametrize("seed", range(3))
def test_align_matches_all_permutations(probes, terms, seed):
    rng = np.random.default_rng(seed)
    centroid, member = random_expert(rng), random_expert(rng)
    _, best = reference.least_cost(reference.alignment_cost(plain(centroid), plain(member), terms, float64(probes)))
    assert align(centroid, member, terms, probes, silu_unit).tolist() == list(best)


def test_the_terms_decide_differently():
    """So that the test above tells a term that is left out from one that is in."""
    different = set()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centroid, member = random_expert(rng), random_expert(rng)
        x = torch.from_numpy(np.random.default_rng(0).normal(size=(11, 4))).float()
        answers = [tuple(align(centroid, member, terms, x, silu_unit).tolist()) for terms in TERM_SETS]
        different |= {(a, b) for a, b in itertools.combinations(range(3), 2) if answers[a] != answers[b]}
    assert different == {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("terms", TERM_SETS, ids="+".join)
def test_shuffled_copy_is_recovered(rng, terms, dtype):
    expert = random_expert(rng, hidden=8, width=16, dtype=dtype)
    x = torch.from_numpy(rng.normal(size=(32, 8))).to(dtype)
    shuffle = torch.from_numpy(rng.permutation(16))
    shuffled = expert.permuted(shuffle)
    permutation = align(expert, shuffled, terms, x, silu_unit)
    assert permutation.dtype == np.int64
    assert permutation.tolist() == torch.argsort(shuffle).tolist()
    assert permutation.tolist() != shuffle.tolist()
    restored = shuffled.permuted(torch.from_numpy(permutation))
    assert torch.equal(restored.gate, expert.gate)
    assert torch.equal(restored.up, expert.up)
    assert torch.equal(restored.down, expert.down)
    whole = merged([expert, shuffled], [0.25, 0.75], [None, torch.from_numpy(permutation)])
    torch.testing.assert_close(whole.down, expert.down)


@pytest.mark.parametrize("terms", TERM_SETS, ids="+".join)
def test_expert_aligns_with_itself_by_the_identity(rng, probes, terms):
    expert = random_expert(rng)
    assert align(expert, expert, terms, probes, silu_unit).tolist() == [0, 1, 2, 3, 4]


def test_order_of_the_members_neurons_does_not_matter(rng, probes):
    centroid, member = random_expert(rng), random_expert(rng)
    direct = member.permuted(torch.from_numpy(align(centroid, member, TERM_SETS[0], probes, silu_unit)))
    shuffled = member.permuted(torch.from_numpy(rng.permutation(5)))
    through = shuffled.permuted(torch.from_numpy(align(centroid, shuffled, TERM_SETS[0], probes, silu_unit)))
    assert torch.equal(direct.gate, through.gate)
    assert torch.equal(direct.up, through.up)
    assert torch.equal(direct.down, through.down)


def test_length_of_a_neuron_does_not_count(rng, probes):
    expert, shuffle = random_expert(rng), torch.from_numpy(rng.permutation(5))
    scale = torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0])
    other = expert.permuted(shuffle)
    longer = Expert(other.gate * scale[:, None], other.up * scale[:, None], other.down * scale)
    assert align(expert, longer, ["weights"], None, silu_unit).tolist() == torch.argsort(shuffle).tolist()
    np.testing.assert_allclose(
        cost_of(expert, longer, ["weights"], None), cost_of(expert, other, ["weights"], None), atol=1e-6
    )
    louder = Expert(other.gate, other.up * scale[:, None], other.down)
    np.testing.assert_allclose(
        cost_of(expert, louder, ["activations"], probes), cost_of(expert, other, ["activations"], probes), atol=1e-6
    )


def test_activations_are_compared_on_the_probes_alone(rng):
    # Both probes are the first unit vector: other columns of gate and up may differ.
    expert, shuffle = random_expert(rng), torch.from_numpy(rng.permutation(5))
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-2.0, 0.0, 0.0, 0.0]])
    other = expert.permuted(shuffle)
    gate, up = other.gate.clone(), other.up.clone()
    gate[:, 1:], up[:, 1:] = torch.randn(5, 3), torch.randn(5, 3)
    changed = Expert(gate, up, torch.randn(4, 5))
    np.testing.assert_array_equal(
        cost_of(expert, changed, ["activations"], x), cost_of(expert, other, ["activations"], x)
    )


def test_dead_neurons_are_matched_with_each_other(rng, probes):
    expert = random_expert(rng)
    gate, up, down = expert.gate.clone(), expert.up.clone(), expert.down.clone()
    gate[1], up[1], down[:, 1] = 0.0, 0.0, 0.0
    dead = Expert(gate, up, down)
    shuffle = torch.tensor([3, 0, 1, 4, 2])
    for terms in TERM_SETS:
        assert np.isfinite(cost_of(dead, dead.permuted(shuffle), terms, probes)).all()
        assert align(dead, dead.permuted(shuffle), terms, probes, silu_unit).tolist() == torch.argsort(shuffle).tolist()
    # A zero vector is at distance 1 from every normalised one and 0 from another zero one.
    cost = cost_of(dead, expert, TERM_SETS[0], probes)
    np.testing.assert_allclose(cost[1], np.full(5, 2.0), rtol=1e-12)


def test_equal_neurons_stay_where_they_are():
    same = Expert(torch.ones(4, 2), torch.ones(4, 2), torch.ones(2, 4))
    assert align(same, same, TERM_SETS[0], torch.ones(3, 2), silu_unit).tolist() == [0, 1, 2, 3]


def test_no_terms_leave_the_neurons_as_they_are(rng):
    permutation = align(random_expert(rng), random_expert(rng), [], None, silu_unit)
    assert permutation.tolist() == [0, 1, 2, 3, 4]
    assert permutation.dtype == np.int64


def test_one_neuron(rng, probes):
    assert align(
        random_expert(rng, width=1), random_expert(rng, width=1), TERM_SETS[0], probes, silu_unit
    ).tolist() == [0]


GROUPS = {4: [1, 7, 2], 0: [], 3: [5], 6: [8]}


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("terms", TERM_SETS, ids="+".join)
def test_groups_are_aligned_as_their_pairs_are(probes, terms, threads, monkeypatch):
    monkeypatch.setattr("ream.core.assignments.SMALL", 1)
    rng = np.random.default_rng(7)
    experts = [random_expert(rng) for _ in range(9)]
    permutations = align_groups(GROUPS, experts.__getitem__, terms, probes, silu_unit, threads)
    assert list(permutations) == [1, 7, 2, 5, 8]
    for centroid, members in GROUPS.items():
        for member in members:
            pair = (plain(experts[centroid]), plain(experts[member]))
            _, best = reference.least_cost(reference.alignment_cost(*pair, terms, float64(probes)))
            assert permutations[member].tolist() == list(best)
            assert permutations[member].dtype == np.int64


def test_groups_without_terms_keep_their_neurons(rng):
    permutations = align_groups(GROUPS, lambda number: random_expert(rng), [], None, silu_unit)
    assert {member: order.tolist() for member, order in permutations.items()} == {
        member: [0, 1, 2, 3, 4] for member in (1, 7, 2, 5, 8)
    }


def test_no_thread_is_started_unless_asked_for(rng, probes, monkeypatch):
    monkeypatch.setattr("ream.core.assignments.SMALL", 1)
    monkeypatch.setattr("ream.core.assignments.ThreadPoolExecutor", None)
    assert list(align_groups({0: [1]}, lambda number: random_expert(rng), TERM_SETS[0], probes, silu_unit)) == [1]
    with pytest.raises(TypeError, match="NoneType"):
        align_groups({0: [1]}, lambda number: random_expert(rng), TERM_SETS[0], probes, silu_unit, 1)


def test_a_centroid_is_read_once_and_one_member_at_a_time(rng, probes):
    alive, most, read = weakref.WeakSet(), [], []

    def expert(number):
        made = random_expert(rng)
        alive.add(made.gate)
        most.append(len(alive))
        read.append(number)
        return made

    align_groups(GROUPS, expert, TERM_SETS[0], probes, silu_unit)
    assert read == [4, 1, 7, 2, 3, 5, 6, 8]
    assert max(most) <= 3  # the last group's centroid goes when the next one is there


def noisy_copy(expert, rng, noise):
    shuffled = expert.permuted(torch.from_numpy(rng.permutation(expert.gate.shape[0])))
    return Expert(
        *(
            part + noise * part.std() * torch.from_numpy(rng.normal(size=part.shape)).float()
            for part in (shuffled.gate, shuffled.up, shuffled.down)
        )
    )


@pytest.mark.parametrize("terms", TERM_SETS, ids="+".join)
@pytest.mark.parametrize("kind", ["random", "alike", "nearly equal"])
def test_costs_in_float32_lose_a_millionth_at_most(terms, kind):
    """Of the total cost, against the optimum of the float64 costs; nearly equal neurons get the same assignment."""
    rng = np.random.default_rng(3)
    expert = random_expert(rng, hidden=48, width=96)
    other = random_expert(rng, hidden=48, width=96) if kind == "random" else None
    other = other or noisy_copy(expert, rng, 1.0 if kind == "alike" else 1e-3)
    x = torch.from_numpy(rng.normal(size=(64, 48))).float()
    single, double = (
        cost_matrix(*(neuron_features(each, terms, x, silu_unit, dtype) for each in (expert, other)))
        for dtype in (torch.float32, torch.float64)
    )
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    np.testing.assert_allclose(single, double, atol=2e-3 if kind == "nearly equal" else 1e-5)
    places = np.arange(96)
    quick, best = (double.numpy()[places, assignment(cost)].sum() for cost in (single, double))
    assert best <= quick <= best * (1 + 1e-6)
    if kind == "nearly equal":
        assert assignment(single).tolist() == assignment(double).tolist()


def test_cost_matrices_are_float64_except_on_gpus_without_fast_float64(monkeypatch):
    assert cost_dtype(torch.device("cpu")) == torch.float64
    fast = [(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)]  # P100, V100, A100, H100, B200
    slow = [(5, 0), (6, 1), (7, 5), (8, 6), (8, 9), (10, 1), (10, 3), (12, 0)]  # T4, L40S and the like
    cards = dict(enumerate(fast + slow))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: cards[device.index])
    for index, capability in cards.items():
        assert (cost_dtype(torch.device("cuda", index)) == torch.float64) is (capability in fast)
