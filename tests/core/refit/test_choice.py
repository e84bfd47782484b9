"""The choice among candidates, by hand."""

import pytest
import torch

from ream.core.refit.choice import chosen_candidate, fraction_left


def errors(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_fraction_is_a_geometric_mean_over_sources_whatever_their_size():
    # A source with a hundredth of the error counts as much: sqrt(0.5 · 0.08) = 0.2.
    assert fraction_left(errors(100.0, 0.16), errors(200.0, 2.0)) == pytest.approx(0.2)
    assert fraction_left(errors(0.0, 1.0), errors(3.0, 2.0)) == 0.0


def test_a_source_without_error_stays_at_one_or_ruins_the_mean():
    assert fraction_left(errors(0.0, 0.5), errors(0.0, 2.0)) == pytest.approx(0.5)
    assert fraction_left(errors(1e-9, 0.0), errors(0.0, 2.0)) == float("inf")


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([(1.0, 2.0), (0.9, 1.0)], 1),
        ([(0.4, 2.0), (1.0, 1.0)], 0),  # sqrt(0.2 · 0.5) = 0.32 beside sqrt(0.5 · 0.25) = 0.35
        ([(0.1, 4.1), (1.9, 3.9)], 0),  # the first leaves less in the mean, though more on the second source
        ([(2.1, 4.1), (1.9, 4.4)], None),
        ([(2.0, 4.0), (2.0, 4.0)], None),  # no better than the plain method
        ([(1.0, 2.0), (1.0, 2.0)], 0),  # ties go to the earlier one
        ([(float("nan"), 1.0), (1.0, 2.0)], 1),
        ([(float("nan"), 1.0)], None),
    ],
)
def test_who_is_chosen(candidates, chosen):
    assert chosen_candidate([errors(*each) for each in candidates], errors(2.0, 4.0)) == chosen
