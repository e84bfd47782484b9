"""What figures 2, 3a and 3b have in common."""

import pytest

from ream.analysis.figures.correlations import correlation_dots
from ream.analysis.figures.fronts import pareto_fronts
from ream.analysis.figures.trade_off import trade_off
from ream.analysis.results.published import load_published
from tests.analysis.figures.drawn import FOLDER


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_mixes_without_points_are_refused(published):
    for draw in (trade_off, correlation_dots, pareto_fronts):
        with pytest.raises(ValueError, match="no mix has both MC and GEN at 7 experts"):
            draw(published.mixes, 7)
