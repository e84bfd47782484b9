"""What the sampler is told of trials that are still being measured."""

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial

from ream.search.suggestions import Plan, Suggestions, believed

SOURCES = ("a", "b", "c")


@pytest.fixture
def suggestions():
    return Suggestions(Plan(SOURCES, 2, [], 40, 8, "gp", seed=0))


def measured(suggestions, number, ratios, values):
    running = suggestions.made(number, ratios, [number, 1])
    return create_trial(
        values=values, params=running.params, distributions=running.distributions, user_attrs=running.user_attrs
    )


@pytest.fixture
def finished(suggestions):
    """Two objectives that are linear in the ratios."""
    mixes = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.4, 0.3, 0.3), (0.2, 0.5, 0.3), (0.1, 0.2, 0.7)]
    return [measured(suggestions, number, mix, [1 + mix[0], 3 - mix[1]]) for number, mix in enumerate(mixes)]


def test_what_is_being_measured_counts_with_values_between_those_of_its_neighbours(suggestions, finished):
    running = [suggestions.made(6, (0.5, 0.5, 0.0), [6, 2]), suggestions.made(7, (0.4, 0.3, 0.3), [6, 2])]
    told = believed([*finished, *running])
    assert told[:6] == finished
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * 8
    assert [trial.user_attrs for trial in told[6:]] == [trial.user_attrs for trial in running]
    assert told[6].values == pytest.approx([1.5, 2.5], abs=0.1)
    assert told[7].values == pytest.approx(finished[3].values, abs=1e-6), "of the same mix"


def test_without_finished_or_running_trials_nothing_changes(suggestions, finished):
    running = [suggestions.made(0, (0.5, 0.5, 0.0), [0, 1])]
    assert believed(running) == running
    assert believed(finished) == finished
    assert believed([]) == []


def test_a_batch_spreads(suggestions, finished):
    """Each mix of a batch knows of those before; without that, all would be the best place again."""
    mixes = np.array(suggestions.mixes(finished, 6, 3))
    gaps = np.abs(mixes[:, None] - mixes[None]).sum(axis=2)[np.triu_indices(3, 1)]
    assert gaps.min() > 0.02
