import numpy as np
import pytest
import torch

from ream.core.expert_tables import remapped


def by_loops(table, kept, group):
    """The same in loops over plain lists."""
    ascending, result = sorted(kept), []
    for row in table:
        new = [kept[group[j]] if group[j] >= 0 else None for j in row]
        for place, j in enumerate(row):
            if new[place] is None:
                later = [c for c in ascending if c > j] + [c for c in ascending if c < j]
                new[place] = next((c for c in later if c not in new), later[0])
        result.append([kept.index(c) for c in new])
    return result


def test_by_hand():
    # 5 experts; 1 and 4 stay, 0 was merged into 4, and 2 and 3 were removed.
    kept, group = np.array([1, 4]), np.array([1, 0, -1, -1, 1])
    table = torch.tensor([[0, 4], [1, 2], [2, 3], [4, 3], [1, 0]])
    # Both of 0 and 4 are 4, at position 1. The removed 2 is followed by 4. Of 2 and 3, the second finds 4 taken and
    # begins again with 1. 3 beside 4 becomes 1.
    assert remapped(table, kept, group).tolist() == [[1, 1], [0, 1], [1, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("seed", range(6))
def test_as_in_loops_whatever_the_order_of_kept_experts(seed):
    rng = np.random.default_rng(seed)
    count, stay, chosen = 11, 5, 4
    kept = rng.permutation(count)[:stay]
    group = np.where(rng.random(count) < 0.5, rng.integers(stay, size=count), -1)
    group[kept] = np.arange(stay)
    table = np.stack([rng.permutation(count)[:chosen] for _ in range(60)])
    new = remapped(torch.from_numpy(table).int(), kept, group)
    assert new.dtype == torch.int32
    assert new.tolist() == by_loops(table.tolist(), kept.tolist(), group.tolist())


def test_rows_of_pruned_models_have_distinct_experts():
    rng = np.random.default_rng(0)
    kept, group = np.array([2, 3, 7]), np.full(8, -1)
    group[kept] = range(3)
    table = torch.from_numpy(np.stack([rng.permutation(8)[:3] for _ in range(40)]))
    assert all(len(set(row)) == 3 for row in remapped(table, kept, group).tolist())


def test_a_row_with_more_experts_than_are_kept():
    kept, group = np.array([1]), np.array([-1, 0, -1])
    assert remapped(torch.tensor([[0, 1, 2]]), kept, group).tolist() == [[0, 0, 0]]
