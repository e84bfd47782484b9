import itertools

import pytest

from ream.calibration.mixing import largest_remainder, mix_sequences
from ream.errors import UserError


@pytest.mark.parametrize(
    ("ratios", "total", "shares"),
    [
        # Quotas 10/3 each: 3, 3, 3 and one left over; all remainders are 1/3, so the first gets it.
        ({"c4": 0.3, "math": 0.3, "code": 0.3}, 10, {"c4": 4, "math": 3, "code": 3}),
        # 0.2 · 7 = 1.4, 0.25 · 7 = 1.75, 0.55 · 7 = 3.85: 1, 1, 3 and two left, for the remainders 0.85 and 0.75.
        ({"c4": 0.2, "math": 0.25, "code": 0.55}, 7, {"c4": 1, "math": 2, "code": 4}),
        # Quotas 1, 1 and 0: nothing left, and nothing for a ratio of zero.
        ({"c4": 0.5, "math": 0, "code": 0.5}, 2, {"c4": 1, "math": 0, "code": 1}),
        # 0.1 · 5 = 0.5, 0.2 · 5 = 1, 0.7 · 5 = 3.5: a tie, which goes to the earlier key.
        ({"code": 0.7, "math": 0.2, "c4": 0.1}, 5, {"code": 4, "math": 1, "c4": 0}),
        ({"c4": 0.1, "math": 0.2, "code": 0.7}, 5, {"c4": 1, "math": 1, "code": 3}),
        ({"c4": 1, "math": 2}, 0, {"c4": 0, "math": 0}),
        ({"c4": 0.3, "math": 0.3, "code": 0.3}, 3072, {"c4": 1024, "math": 1024, "code": 1024}),
    ],
)
def test_largest_remainder_by_hand(ratios, total, shares):
    assert largest_remainder(ratios, total) == shares


def test_shares_add_up_and_are_within_one_of_the_quota():
    for ratios in itertools.product([0, 0.1, 0.25, 0.3, 1e-9, 7], repeat=3):
        if any(ratios):
            for total in (0, 1, 2, 3, 10, 97, 3072):
                shares = largest_remainder(dict(zip("abc", ratios, strict=True)), total)
                assert sum(shares.values()) == total
                for share, ratio in zip(shares.values(), ratios, strict=True):
                    assert abs(share - ratio / sum(ratios) * total) < 1 + 1e-9
                    assert ratio > 0 or share == 0


@pytest.mark.parametrize(("ratios", "total"), [({"a": 0.0}, 3), ({}, 3), ({"a": 1, "b": -0.5}, 3), ({"a": 1}, -1)])
def test_impossible_ratios(ratios, total):
    with pytest.raises(ValueError, match="no number may be negative, and one ratio must be positive"):
        largest_remainder(ratios, total)


def test_mix_takes_the_first_of_each_in_key_order():
    corpora = {"code": [[30 + i] for i in range(4)], "c4": [[10 + i] for i in range(9)], "math": [[20]]}
    mixed = mix_sequences(corpora, {"c4": 0.5, "code": 0.5, "math": 0, "absent": 0}, 5)
    assert mixed == [("c4", [10]), ("c4", [11]), ("c4", [12]), ("code", [30]), ("code", [31])]


def test_too_few_sequences():
    with pytest.raises(UserError, match=r"^source 'b' has 2 sequences, but the mix of 4 needs 3 from it;"):
        mix_sequences({"a": [[1]] * 9, "b": [[2]] * 2}, {"a": 0.25, "b": 0.75}, 4)
    with pytest.raises(UserError, match=r"source 'c' is unknown; .*the calibration data has: a, b"):
        mix_sequences({"a": [[1]], "b": [[2]]}, {"a": 0.5, "c": 0.5}, 2)
