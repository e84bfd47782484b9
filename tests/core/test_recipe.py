from dataclasses import replace

import numpy as np
import pytest

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, check_layer


@pytest.fixture
def layer():
    """Five experts of width 3: 1 absorbs 0, 3 is alone, 4 absorbs 2."""
    return LayerRecipe(
        groups=Groups(np.array([1, 3, 4]), np.array([0, 0, 2, 1, 2])),
        weights=np.array([0.25, 0.75, 0.5, 1.0, 0.5]),
        saliency=np.array([1.0, 3.0, 2.0, 4.0, 2.0]),
        permutations={0: np.array([2, 0, 1]), 2: np.array([0, 1, 2])},
    )


def pruned(weights=(1.0, 0.0, 1.0)):
    return LayerRecipe(Groups(np.array([0, 2]), np.array([0, -1, 1])), np.array(weights), np.ones(3))


def test_recipes_that_fit_are_accepted(layer):
    check_layer(layer, 5, 3)
    check_layer(pruned(), 3, 7)  # dropped experts have no permutation
    alone = LayerRecipe(Groups(np.arange(4), np.arange(4)), np.ones(4), np.zeros(4))
    check_layer(alone, 4, 2)
    one = LayerRecipe(Groups(np.array([0]), np.array([0])), np.ones(1), np.zeros(1))
    check_layer(one, 1, 2)


def test_permutations_are_empty_by_default():
    assert pruned().permutations == {}


def test_another_number_of_experts_is_refused(layer):
    with pytest.raises(ValueError, match="the recipe is for 5 experts, the layer has 6"):
        check_layer(layer, 6, 3)


def test_another_number_of_weights_is_refused(layer):
    with pytest.raises(ValueError, match="the recipe has 4 merge weights, the layer has 5 experts"):
        check_layer(replace(layer, weights=np.full(4, 0.5), saliency=np.ones(4)), 5, 3)


@pytest.mark.parametrize(
    "kept",
    [[], [1, 4, 3], [1, 1, 4], [-1, 3, 4], [1, 3, 5]],
    ids=["none", "descending", "twice", "negative", "out of range"],
)
def test_kept_experts_that_are_not_ascending_indices_are_refused(layer, kept):
    groups = Groups(np.array(kept, dtype=np.int64), layer.groups.group)
    with pytest.raises(ValueError, match="kept experts are not ascending indices of the layer's experts"):
        check_layer(replace(layer, groups=groups), 5, 3)


@pytest.mark.parametrize(
    "group",
    [[0, 0, 3, 1, 2], [0, 0, -2, 1, 2], [0, 1, 2, 1, 2], [0, -1, 2, 1, 2], [0, 0, 2, 2, 1]],
    ids=["too many", "below -1", "centroid elsewhere", "centroid dropped", "centroids swapped"],
)
def test_groups_that_do_not_match_the_kept_experts_are_refused(layer, group):
    with pytest.raises(ValueError, match="groups do not match the kept experts"):
        check_layer(replace(layer, groups=Groups(layer.groups.kept, np.array(group))), 5, 3)


@pytest.mark.parametrize(
    "weights",
    [
        [0.25, 0.75, 0.5, 1.0, 0.4],
        [0.25, 0.75, 0.25, 1.25, 0.5],
        [1.0, 3.0, 2.0, 4.0, 2.0],
        [0.25, 0.75, 0.5, np.nan, 0.5],
        [0.0] * 5,
    ],
    ids=["short", "right over all groups alone", "saliencies", "nan", "zero"],
)
def test_weights_that_do_not_sum_to_one_are_refused(layer, weights):
    with pytest.raises(ValueError, match="merge weights do not sum to 1 in every group"):
        check_layer(replace(layer, weights=np.array(weights)), 5, 3)


def test_dropped_expert_with_a_weight_is_refused():
    with pytest.raises(ValueError, match="merge weights do not sum to 1 in every group"):
        check_layer(pruned([1.0, 0.5, 1.0]), 3, 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_weights_may_be_off_by_rounding(layer, sign):
    """By a relative 1e-5 and an absolute 1e-9, of one group as well as of all."""
    for within in (1e-12, 1.00005e-5):
        check_layer(replace(layer, weights=layer.weights * (1 + sign * within)), 5, 3)
    for group in ([0, 1], [3], [2, 4]):
        weights = layer.weights.copy()
        weights[group] *= 1 + sign * 1.00015e-5
        with pytest.raises(ValueError, match="merge weights do not sum to 1 in every group"):
            check_layer(replace(layer, weights=weights), 5, 3)


@pytest.mark.parametrize("experts", [[0], [0, 1, 2], [0, 3], [0, 2, 3], []])
def test_permutations_of_other_experts_than_the_absorbed_are_refused(layer, experts):
    with pytest.raises(ValueError, match="permutations do not match the absorbed experts"):
        check_layer(replace(layer, permutations={expert: np.arange(3) for expert in experts}), 5, 3)


def test_permutation_of_a_dropped_expert_is_refused():
    with pytest.raises(ValueError, match="permutations do not match the absorbed experts"):
        check_layer(replace(pruned(), permutations={1: np.arange(3)}), 3, 3)


@pytest.mark.parametrize("permutation", [[0, 1, 1], [0, 1], [0, 1, 2, 3], [1, 2, 3], [-1, 0, 1]])
def test_what_is_not_a_permutation_is_refused(layer, permutation):
    permutations = {0: np.array(permutation), 2: np.array(permutation)}
    with pytest.raises(ValueError, match="expert 0: not a permutation of 3 neurons"):
        check_layer(replace(layer, permutations=permutations), 5, 3)


def test_another_width_is_refused(layer):
    with pytest.raises(ValueError, match="expert 0: not a permutation of 4 neurons"):
        check_layer(layer, 5, 4)


def test_chosen_neurons_are_of_the_groups_of_several_and_of_their_members(layer):
    chosen = replace(layer, permutations={}, neurons={0: np.array([0, 3, 5]), 2: np.array([1, 2, 4])})
    check_layer(chosen, 5, 3)
    for neurons in ({0: np.array([0, 3, 5])}, {0: np.arange(3), 1: np.arange(3), 2: np.arange(3)}):
        with pytest.raises(ValueError, match="chosen neurons do not match the groups of several experts"):
            check_layer(replace(chosen, neurons=neurons), 5, 3)
    with pytest.raises(ValueError, match="chosen neurons do not match"):
        check_layer(replace(chosen, permutations=layer.permutations), 5, 3)
    for wrong in ([0, 3], [0, 3, 6], [-1, 0, 1], [3, 0, 5], [0, 3, 3]):
        with pytest.raises(ValueError, match="kept expert 2: not 3 ascending indices of 6 neurons"):
            check_layer(replace(chosen, neurons={0: np.arange(3), 2: np.array(wrong)}), 5, 3)


def test_corrections_are_of_kept_experts_and_as_wide_as_the_layer(layer):
    check_layer(replace(layer, corrections={0: {"down": np.ones((7, 3))}, 2: {"down": np.ones((7, 3))}}), 5, 3)
    assert layer.corrections == {}
    for position in (3, -1):
        with pytest.raises(ValueError, match=f"a correction is for kept expert {position}, but there are 3"):
            check_layer(replace(layer, corrections={position: {"down": np.ones((7, 3))}}), 5, 3)
    for shape in ((7, 4), (3,)):
        with pytest.raises(ValueError, match=r"corrections of down have shape \[.*\], but the layer's .* 3 neurons"):
            check_layer(replace(layer, corrections={1: {"down": np.ones(shape)}}), 5, 3)
