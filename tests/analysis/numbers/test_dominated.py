"""Hypervolume of any number of measures, against inclusion and exclusion of boxes, and the plane's."""

from itertools import combinations

import numpy as np
import pytest

from ream.analysis.numbers.dominated import contributions, dominated_volume, dominated_volumes
from ream.analysis.numbers.pareto import hypervolume


def by_inclusion(points, reference):
    """The volume of a union of boxes from the reference point, by the volumes of all their intersections."""
    boxes = [point - reference for point in points if (point > reference).all()]
    return sum(
        (-1) ** (count + 1) * np.prod(np.min(chosen, axis=0))
        for count in range(1, len(boxes) + 1)
        for chosen in combinations(boxes, count)
    )


@pytest.mark.parametrize("measures", [1, 2, 3, 4])
def test_it_is_the_volume_of_the_union_of_boxes(rng, measures):
    for _ in range(20):
        points, reference = rng.random((7, measures)).round(1), np.full(measures, 0.2)
        assert dominated_volume(points, reference) == pytest.approx(by_inclusion(points, reference))


def test_in_the_plane_it_is_that_of_the_papers_fronts(rng):
    points = rng.random((30, 2))
    assert dominated_volume(points, np.zeros(2)) == pytest.approx(hypervolume(points, np.zeros(2)))
    assert dominated_volume(np.empty((0, 2)), np.zeros(2)) == 0


@pytest.mark.parametrize("measures", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 6])
def test_of_many_samples_at_once_it_is_that_of_each(rng, measures, count):
    """With equal values, points below the reference on one measure alone, and another reference point each."""
    points = rng.random((40, count, measures)).round(1)
    references = rng.random((40, measures)).round(1) / 2
    expected = [dominated_volume(own, reference) for own, reference in zip(points, references, strict=True)]
    np.testing.assert_allclose(dominated_volumes(points, references), expected, rtol=1e-12, atol=1e-15)


def test_chosen_points_add_most_volume_each():
    """By hand above (0, 0): (3, 3) adds 9, then (5, 1) adds 2, (1, 4) adds 1, and (2, 2) nothing."""
    points = np.array([[1.0, 4], [2, 2], [3, 3], [5, 1]])
    assert contributions(points, np.zeros(2), 4) == [2, 3, 0]
    assert contributions(points, np.zeros(2), 2) == [2, 3]
