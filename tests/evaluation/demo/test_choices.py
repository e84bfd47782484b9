import random

import pytest

from ream.evaluation.demo.choices import Rarity, nearest, with_distractors


def test_rarity_counts_documents_and_not_occurrences():
    # "x" is in 1 of 2 documents, "y" in both: -log(1.1/2) and -log(2.1/2); a sign costs 0.5 more
    rarity = Rarity(["x x x y", "y ."])
    assert rarity("x") == pytest.approx(0.597837, abs=1e-6)
    assert rarity("y") == pytest.approx(-0.048790, abs=1e-6)
    assert rarity("x.") == pytest.approx(2 * 0.597837 + 0.5, abs=1e-5)


def test_the_nearest_in_rarity_are_taken_and_the_right_one_is_not():
    others = [("a", 1.0), ("b", 2.0), ("c", 3.1), ("right", 2.0), ("a", 1.0)]
    assert nearest("right", others, 2.0, 2) == ["b", "a"]


def test_too_few_distractors_give_no_item():
    assert with_distractors("c", "r", ["r", "x", "y", "x"], random.Random(0)) is None
    item = with_distractors("c", "r", ["x", "y", "z"], random.Random(0), prefix=" ")
    assert sorted(item["choices"]) == [" r", " x", " y", " z"]
    assert item["choices"][item["label"]] == " r"
