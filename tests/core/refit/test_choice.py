"""The choice among candidates, by hand."""

import pytest
import torch

from ream.core.refit.choice import chosen_candidate, fraction_left


def errors(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_fraction_is_of_the_error_of_all_sources():
    # A source with a hundredth of the error hardly counts: (100 + 0.16) / 202.
    assert fraction_left(errors(100.0, 0.16), errors(200.0, 2.0)) == pytest.approx(100.16 / 202.0)
    assert fraction_left(errors(0.0, 1.0), errors(3.0, 2.0)) == pytest.approx(0.2)


def test_no_error_stays_at_one_or_is_infinitely_worse():
    assert fraction_left(errors(0.0, 0.5), errors(0.0, 2.0)) == pytest.approx(0.25)
    assert fraction_left(errors(1e-9, 0.0), errors(0.0, 0.0)) == float("inf")
    assert fraction_left(errors(0.0, 0.0), errors(0.0, 0.0)) == 1.0


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([(1.0, 2.0), (0.9, 1.0)], 1),
        ([(0.4, 2.0), (1.0, 1.0)], 1),  # 2.0 beside 2.4, though the other leaves less in the mean of fractions
        ([(0.1, 4.1), (1.9, 3.9)], 0),  # the first leaves less in all, though more on the second source
        ([(2.1, 4.1), (1.9, 4.4)], None),
        ([(2.0, 4.0), (2.0, 4.0)], None),  # no better than the plain method
        ([(1.0, 2.0), (1.0, 2.0)], 0),  # ties go to the earlier one
        ([(float("nan"), 1.0), (1.0, 2.0)], 1),
        ([(float("nan"), 1.0)], None),
    ],
)
def test_who_is_chosen(candidates, chosen):
    assert chosen_candidate([errors(*each) for each in candidates], errors(2.0, 4.0)) == chosen
