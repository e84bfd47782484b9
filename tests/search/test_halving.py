"""Who of a batch goes on, against the definition of dominated points and the volume that is counted by lot."""

import numpy as np
import pytest

from ream.search.halving import going_on, layers_of_fronts, rung_sizes, to_all_sequences


def test_rounds_double_up_to_all_sequences():
    assert rung_sizes(16, 3) == [4, 8, 16]
    assert rung_sizes(5, 3) == [2, 3, 5]
    assert rung_sizes(2, 4) == [1, 2], "no round is there twice"
    assert rung_sizes(8, 1) == [8]


def test_fronts_are_peeled_off_one_after_the_other(rng):
    values = rng.random((40, 3)).round(1)
    left, expected, number = set(range(40)), np.empty(40), 0
    while left:
        members = {
            i for i in left
            if not any((values[j] <= values[i]).all() and (values[j] < values[i]).any() for j in left)
        }  # fmt: skip
        expected[list(members)] = number
        left, number = left - members, number + 1
    assert (layers_of_fronts(values) == expected).all()
    assert number > 2


def test_the_best_fronts_go_on():
    values = np.array([[1.0, 5], [5, 1], [6, 6], [2, 2]])
    assert going_on(values, np.empty((0, 2)), 3).tolist() == [True, True, False, True]
    # earlier trials push two of the batch to the second front; of these two the one that adds more volume goes on
    earlier = np.array([[0.5, 4.5], [4.5, 0.5]])
    assert going_on(values, earlier, 1).tolist() == [False, False, False, True]
    assert going_on(values, np.empty((0, 2)), 4).all()


def test_equal_points_go_on_in_their_order():
    assert going_on(np.ones((3, 2)), np.empty((0, 2)), 2).tolist() == [True, True, False]


def test_a_value_on_few_sequences_is_brought_to_all_of_them():
    """The others lose 0.5 and 0.7 on the first objective when all sequences count: 0.6 on the mean."""
    few, whole = [np.array([1.0, 2.0]), np.array([3.0, 4.0])], [np.array([0.5, 2.0]), np.array([2.3, 4.0])]
    assert to_all_sequences(np.array([2.0, 3.0]), few, whole) == pytest.approx([1.4, 3.0])
    assert to_all_sequences(np.array([2.0, 3.0]), [], []) == pytest.approx([2.0, 3.0])
