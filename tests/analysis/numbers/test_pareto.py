from pathlib import Path

import numpy as np
import pytest

from ream.analysis.numbers.pareto import front, fronts, hypervolume, reference_point
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import in_mixes

FOLDER = Path(__file__).parents[3] / "data" / "published"


def brute_front(points):
    members = []
    for a in points:
        beaten = False
        for b in points:
            beaten |= b[0] >= a[0] and b[1] >= a[1] and (b[0] > a[0] or b[1] > a[1])
        members.append(not beaten)
    return members


def counted_area(points, reference):
    """Unit cells below some point, for points and reference in whole numbers."""
    area = 0
    for x in range(reference[0], max(p[0] for p in points)):
        for y in range(reference[1], max(p[1] for p in points)):
            area += any(x < p[0] and y < p[1] for p in points)
    return area


def test_a_front_by_hand():
    # 5 ┤ a         a = (1, 5), b = (3, 4), c = (4, 1) are the front; d = (2, 4) and e = (3, 1) are beaten by b,
    # 4 ┤   d b     e also by c.
    # 1 ┤     e c   Reference (0, 0): a and b and c cover 1·5 + 2·4 + 1·1 = 14
    points = np.array([[1, 5], [3, 4], [4, 1], [2, 4], [3, 1]], float)
    assert front(points).tolist() == [True, True, True, False, False]
    assert reference_point(points).tolist() == [0, 0]
    of_method = fronts({"m": points})["m"]
    assert (of_method.size, of_method.hypervolume, of_method.members.tolist()) == (
        3,
        14,
        [True, True, True, False, False],
    )


def test_random_fronts_with_ties_and_copies_agree_with_counting(rng):
    for _ in range(60):
        points = rng.integers(0, 7, size=(rng.integers(1, 11), 2))
        reference = points.min(axis=0) - 1
        assert front(points.astype(float)).tolist() == brute_front(points.tolist())
        area = hypervolume(points.astype(float), reference.astype(float))
        assert area == counted_area(points.tolist(), reference.tolist())
        shuffled = rng.permutation(points).astype(float)
        assert hypervolume(shuffled, reference.astype(float)) == area


def test_copies_of_a_point_of_the_front_are_all_on_it():
    points = np.array([[2, 2], [2, 2], [2, 1], [1, 2]], float)
    assert front(points).tolist() == [True, True, False, False]
    assert hypervolume(points, np.zeros(2)) == 4


def test_one_point_covers_one_unit():
    of_method = fronts({"m": np.array([[50.0, 20.0]])})["m"]
    assert (of_method.size, of_method.hypervolume) == (1, 1.0)


def test_the_reference_is_shared_by_all_methods():
    # smallest MC 2 (of a), smallest GEN 1 (of b): reference (1, 0); a covers 1·6, b covers 4·1
    by_method = fronts({"a": np.array([[2.0, 6.0]]), "b": np.array([[5.0, 1.0]])})
    assert (by_method["a"].hypervolume, by_method["b"].hypervolume) == (6, 4)


def test_points_not_above_the_reference_add_nothing():
    points = np.array([[1.0, 9.0], [5.0, 0.0], [3.0, 2.0]])
    assert hypervolume(points, np.array([1.0, 0.0])) == 4  # (3 − 1) · (2 − 0) alone


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        fronts({})
    with pytest.raises(ValueError, match="finite"):
        fronts({"m": np.array([[1.0, np.nan]])})


@pytest.mark.parametrize("experts", [96, 64])
def test_fronts_of_the_published_mixes_agree_with_counting_in_tenths(experts):
    tenths = {}
    for row in load_published(FOLDER).mixes:
        if row.experts == experts and in_mixes(row):
            tenths.setdefault(row.method, []).append((round(row.mc * 10), round(row.gen * 10)))
    by_method = fronts({method: np.array(points) / 10 for method, points in tenths.items()})
    every = [point for points in tenths.values() for point in points]
    reference = (min(p[0] for p in every) - 10, min(p[1] for p in every) - 10)
    for method, points in tenths.items():
        assert len(points) == 10
        assert by_method[method].size == sum(brute_front(points))
        assert by_method[method].hypervolume * 100 == pytest.approx(counted_area(points, reference), abs=1e-6)
