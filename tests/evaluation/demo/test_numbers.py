from ream.calibration.problems.problem import Problem
from ream.evaluation.demo.numbers import near_misses, split_result


def test_a_result_is_split_off_at_the_last_number():
    problem = Problem("Q?", "9 * 11 = 99 square cm.", 99)
    assert split_result(problem) == ("Problem: Q?\nSolution: 9 * 11 =", "99", " square cm.")


def test_near_misses_by_hand():
    assert sorted(near_misses(21)) == [11, 12, 19, 20, 22, 23, 31]
    assert sorted(near_misses(1)) == [0, 1, 2, 3, 11]  # -1 and -9 are left out
