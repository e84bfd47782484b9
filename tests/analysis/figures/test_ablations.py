"""Figure 4a."""

import pytest

from ream.analysis.figures.ablations import ablation_differences
from ream.analysis.numbers.ablations import differences, mean_intervals
from ream.analysis.numbers.mixes import Series
from ream.analysis.results.published import load_published
from tests.analysis.figures.drawn import FOLDER, data, legend, measured, segments


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_figure_4a_draws_differences_at_the_same_mix(published):
    by_variant = differences(published.ablations, "gen")
    assert by_variant[Series("ream-one-shot", "paper")] == pytest.approx(
        {"0:0.3:0.7": 69.0 - 72.9, "0.1:0.1:0.8": 68.0 - 68.8, "0.2:0.25:0.55": 69.7 - 67.7}
    )
    assert by_variant[Series("ream-no-gate-logits", "paper")] == pytest.approx(
        {"0:0.3:0.7": 0.0, "0.1:0.1:0.8": 66.9 - 68.8, "0.2:0.25:0.55": 69.3 - 67.7}
    )
    assert len(by_variant) == 2
    assert differences(published.ablations, "mc") == {}
    figure = ablation_differences(published.ablations)
    (axis,) = figure.axes  # GEN alone is printed
    assert [text.get_text() for text in axis.get_yticklabels()] == ["no-gate-logits", "one-shot"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([-0.1, -0.9])
    assert figure.legends[0].get_title().get_text() == "mix"  # no standard errors are printed
    drawn = {(round(y), round(x, 6)) for line in axis.lines if line.get_linestyle() == "None" for x, y in data(line)}
    assert drawn == {(0, 0.0), (0, -1.9), (0, 1.6), (1, -3.9), (1, -0.8), (1, 2.0)}
    assert legend(figure) == ["0:0.3:0.7", "0.1:0.1:0.8", "0.2:0.25:0.55"]


def test_bars_of_figure_4a_have_intervals_where_errors_are_known():
    even, code = {"math": 1.0, "code": 1.0}, {"code": 1.0}
    rows = [measured("ream", 50.0, 3.0, **even), measured("ream", 50.0, 3.0, **code),
            measured("ream-one-shot", 48.0, 4.0, **even), measured("ream-one-shot", 38.0, 4.0, **code),
            measured("ream-ungated", 51.0, None, **even)]  # fmt: skip
    # a bar at −7, ± 1.96 · hypot(3, 4) = 9.8 however many mixes: the questions are the same
    intervals = mean_intervals(rows, "gen")
    assert list(intervals) == [Series("ream-one-shot", "ours")]
    interval = intervals[Series("ream-one-shot", "ours")]
    assert (interval.low, interval.value, interval.high) == (
        pytest.approx(-16.8, abs=0.2),
        -7,
        pytest.approx(2.8, abs=0.2),
    )
    figure = ablation_differences(rows)
    gen = figure.axes[1]
    assert figure.legends[0].get_title().get_text() == "mix; black: 95% interval of the mean"
    assert ((-17, 0), (3, 0)) in segments(gen)
    assert not any(y == 1 for line in segments(gen) for _, y in line if line[0][0] != line[1][0])
