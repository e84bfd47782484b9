import numpy as np
import pytest
import torch

from ream.core.pairs import routed_pairs, routed_rows


def test_pairs_are_sorted_by_tile_expert_and_token():
    # Tokens 0, 2, 3 count; tiles of 2 of them: (0, 2), (3). Pairs (token, expert): 0-2 0-0 2-0 2-1 | 3-2 3-1.
    indices = torch.tensor([[2, 0], [1, 0], [0, 1], [2, 1]])
    pairs = routed_pairs(indices, 3, 2, torch.tensor([True, False, True, True]))
    assert (pairs.tokens, pairs.kept.tolist()) == (3, [0, 2, 3])
    assert pairs.offsets[:7] == [0, 2, 3, 4, 4, 5, 6]
    assert pairs.expert.tolist() == [0, 0, 1, 2, 1, 2]
    assert pairs.token.tolist() == [0, 1, 1, 0, 2, 2]
    assert pairs.flat.tolist() == [1, 4, 5, 0, 7, 6]
    assert pairs.count.tolist() == [2, 2, 2]
    assert routed_pairs(indices, 3, 2).kept is None


@pytest.mark.parametrize("seed", range(6))
def test_every_run_holds_the_tokens_of_its_tile_and_expert(seed):
    rng = np.random.default_rng(seed)
    tokens, experts, k, step = (int(rng.integers(1, most)) for most in (30, 8, 4, 9))
    k = min(k, experts)
    chosen = np.array([rng.permutation(experts)[:k] for _ in range(tokens)])
    mask = rng.random(tokens) < 0.6
    pairs = routed_pairs(torch.from_numpy(chosen), experts, step, torch.from_numpy(mask))
    real = chosen[mask]
    for tile in range(-(-len(real) // step)):
        for expert in range(experts):
            run = slice(*pairs.offsets[tile * experts + expert :][:2])
            wanted = [t for t in range(len(real)) if t // step == tile and expert in real[t]]
            assert pairs.token[run].tolist() == wanted
            places = [np.flatnonzero(mask)[t] * k + real[t].tolist().index(expert) for t in wanted]
            assert pairs.flat[run].tolist() == places
    assert pairs.offsets[-1] == len(pairs.flat) == mask.sum() * k


def test_rows_and_slots_of_each_expert_with_tokens():
    # Experts of the tokens: (2, 0), (4, 0), (0, 4). Expert 0 is a token's second or first, 1 and 3 have no tokens.
    rows = [(expert, row.tolist(), slot.tolist()) for expert, row, slot in routed_rows(
        torch.tensor([[2, 0], [4, 0], [0, 4]]), 5
    )]  # fmt: skip
    assert rows == [(0, [0, 1, 2], [1, 1, 0]), (2, [0], [0]), (4, [1, 2], [0, 1])]
    assert list(routed_rows(torch.empty(0, 2, dtype=torch.int64), 5)) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_place_without_an_expert_makes_no_pair_but_its_token_counts(seed):
    rng = np.random.default_rng(seed)
    tokens, experts, step = 23, 4, 5
    chosen = np.array([rng.permutation(experts + 3)[:2] for _ in range(tokens)])  # 4 and more: no expert
    mask = rng.random(tokens) < 0.7
    pairs = routed_pairs(torch.from_numpy(chosen), experts, step, torch.from_numpy(mask))
    real = np.flatnonzero(mask)
    wanted = sorted(
        (place // step, expert, place, token * 2 + slot)
        for place, token in enumerate(real)
        for slot, expert in enumerate(chosen[token])
        if expert < experts
    )
    found = zip(pairs.expert.tolist(), pairs.token.tolist(), pairs.flat.tolist(), strict=True)
    assert list(found) == [(expert, place, flat) for _, expert, place, flat in wanted]
    assert pairs.tokens == len(real)
    assert pairs.kept.tolist() == real.tolist()
    assert pairs.count.tolist() == [sum(expert == each for _, expert, _, _ in wanted) for each in range(experts)]
    none = torch.full((3, 1), experts)
    assert (routed_pairs(none, experts, 2).tokens, routed_pairs(none, experts, 2).offsets[-1]) == (3, 0)


def test_no_tokens_no_pairs():
    empty = routed_pairs(torch.empty(0, 2, dtype=torch.int64), 3, 4)
    assert (empty.tokens, empty.offsets, empty.count.tolist()) == (0, [0], [0, 0, 0])
