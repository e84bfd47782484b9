"""Figure 3b."""

import pytest

from ream.analysis.figures.fronts import pareto_fronts
from ream.analysis.numbers.mixes import fronts_of, series_of
from ream.analysis.results.published import load_published
from tests.analysis.figures.drawn import FOLDER, data, legend, line_of


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_figure_3b_draws_the_fronts_and_names_their_hypervolume(published):
    figure = pareto_fronts(published.mixes, 96)
    series = series_of(published.mixes, 96)
    for one, front in fronts_of(series).items():
        line = line_of(figure.axes[0], f"{one.method}: HV {front.hypervolume:.1f}, {front.size}/10")
        members = data(line)
        assert sorted(members) == members == sorted(map(tuple, series[one].points[front.members].tolist()))
        # a step before each point, at its own GEN: the edge of what the front dominates
        assert line.get_drawstyle() == "steps-pre"
        assert [gen for _, gen in members] == sorted((gen for _, gen in members), reverse=True)
    assert legend(figure)[3] == "ream: HV 919.9, 6/10"
