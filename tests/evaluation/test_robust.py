from fractions import Fraction

import pytest

from ream.evaluation.robust import Extracted, extracted, number_of


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("So 16 - 3 - 4 = 9, and 9 * 2 = 18.", 18),
        ("$$\\boxed{18}$$", 18),
        ("She makes $18.00", 18),
        ("She makes \\$18 every day.", 18),
        ("\\boxed{070}", 70),
        ("It is \\boxed{1{,}200}", 1200),
        ("It is \\boxed{1,200 \\text{ eggs}} of 4000.", 1200),
        ("12,345,678", 12345678),
        ("of 5, 7", 7),
        ("x = 12\\!,345", 12345),
        ("\\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("\\boxed{-\\dfrac{3}{4}}", Fraction(-3, 4)),
        ("The answer is **18** eggs, sold in 3 days.", 18),
        ("Answer: 18, because 2 * 9 = 18 and 7 < 9", 18),
        ("#### 18\n\nQuestion 2", 18),
        ("<think>maybe 3</think> So 18", 18),
        ("<think>the answer is 3</think> \\boxed{18}", 18),
        ("3-5", 5),
        ("It is -5", -5),
        ("It is \u22125", -5),
        ("about .5", Fraction(1, 2)),
        ("\\boxed{18} no, \\boxed{20", 18),  # the second is cut
        ("x2 and y3", None),
        ("I don't know", None),
        ("\\boxed{}", None),
        ("\\frac{1}{0}", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_the_number_of_an_answer(answer, number):
    assert number_of(answer) == number


def test_numbers_are_compared_as_numbers():
    assert extracted("It is 18.00", " 18") == Extracted(1.0, True)
    assert extracted("It is 1200", "1,200") == Extracted(1.0, True)
    assert extracted("It is 19", "18") == Extracted(0.0, True)
    assert extracted("?", "18") == Extracted(0.0, False)
    assert extracted("?", "none") == Extracted(0.0, False)
