"""Group sizes of recipes."""

import numpy as np
import pytest

from ream.analysis.numbers.group_sizes import group_sizes
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe


def recipe(*layers):
    """Layers as lists of the group of each expert; a group's first expert is its centroid."""
    made = {}
    for index, group in enumerate(layers):
        kept = np.array([group.index(position) for position in range(max(group) + 1)])
        zeros = np.zeros(len(group))
        made[index] = LayerRecipe(Groups(kept, np.array(group)), zeros, zeros)
    return Recipe(made, {})


def test_group_sizes_by_hand():
    # layer 0: groups of 1, 3, 1 experts and one dropped; layer 1: 2, 2, 2
    assert group_sizes(recipe([0, 1, 1, 2, 1, -1], [0, 0, 1, 1, 2, 2])).tolist() == [[3, 1, 1], [2, 2, 2]]
    with pytest.raises(ValueError, match="one number of experts"):
        group_sizes(recipe([0, 1], [0, 0]))
    with pytest.raises(ValueError, match="one number of experts"):
        group_sizes(recipe())
