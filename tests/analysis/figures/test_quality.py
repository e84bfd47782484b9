"""Quality against size."""

import pytest

from ream.analysis.figures.quality import quality_against_size, table_of_quality
from ream.analysis.figures.style import styles
from ream.analysis.numbers.choice import choices
from ream.evaluation.scores import Cell
from tests.analysis.figures.drawn import line_of
from tests.analysis.numbers.test_choice import candidate

ORIGINAL = Cell(mix=None, method=None, experts=32, mean_loss=0.9, parameters=160)
MODELS = [candidate("reap", loss=1.0), candidate("reap", loss=0.95, mix="code"), candidate("own", loss=2.0),
          candidate("own", loss=3.0, experts=4)]  # fmt: skip


def points(line):
    return [tuple(point) for point in line.get_xydata().tolist()]


def test_a_line_leads_from_the_original_through_the_best_mix_of_each_size():
    axis = quality_against_size(MODELS, choices(MODELS), ORIGINAL, among=["x"]).axes[0]
    look = styles(["own"], ["x", "own", "reap"])["own"]
    markers = line_of(axis, "own")
    assert points(markers) == [(50, 2.0), (50, 3.0)]
    assert (markers.get_color(), markers.get_marker()) == (look.colour, look.marker)
    assert points(line_of(axis, "reap")) == [(50, 0.95)]
    lines = [points(line) for line in axis.lines]
    assert [(100, 0.9), (50, 2.0), (50, 3.0)] in lines
    assert points(line_of(axis, "original"))[0][1] == 0.9
    assert points(line_of(axis, "chosen")) == [(50, 0.95), (50, 3.0)]
    assert axis.get_ylabel() == "mean held-out loss (nats per token)"


def test_the_original_has_no_divergence_from_itself():
    models = [candidate("reap", kl=0.2), candidate("ream", kl=0.3)]
    axis = quality_against_size(models, choices(models), ORIGINAL).axes[0]
    assert points(line_of(axis, "original"))[0][1] == 0.0


def test_its_numbers_are_a_table():
    table = table_of_quality(MODELS, choices(MODELS), ORIGINAL)
    assert [(row[0], row[1], row[2], row[5]) for row in table.rows] == [
        ("reap", "code", 8, "yes"), ("own", "even", 8, "no"), ("own", "even", 4, "yes")
    ]  # fmt: skip
    assert table.columns[4].name == "held-out loss"


def test_models_without_any_measure_are_refused():
    with pytest.raises(ValueError, match="no model has a measure"):
        quality_against_size([candidate("reap")], [], ORIGINAL)
