"""The table of candidates."""

import pytest

from ream.analysis.numbers.choice import choices, worth_considering
from ream.analysis.tables.candidates import table_of_candidates
from ream.evaluation.scores import Cell
from tests.analysis.numbers.test_choice import candidate

ORIGINAL = Cell(mix=None, method=None, experts=32, mean_loss=0.9, mc=80.0, parameters=100)


def test_the_chosen_are_bold_and_what_none_has_is_left_out():
    models = [candidate("reap", loss=1.0, kl=0.2, mc=78.0), candidate("ream", loss=1.0, kl=0.2, mc=77.0),
              candidate("ean", loss=3.0, kl=0.9, experts=4)]  # fmt: skip
    table = table_of_candidates(worth_considering(choices(models)), ORIGINAL)
    assert [column.name for column in table.columns] == ["experts", "method", "mix", "smaller %", "loss", "KL", "ΔMC"]
    assert [row[:3] for row in table.rows] == [(8, "reap", "even"), (8, "ream", "even"), (4, "ean", "even")]
    assert [row[3] for row in table.rows] == pytest.approx([20.0] * 3)
    assert [row[6] for row in table.rows] == [-2.0, -3.0, None]
    assert table.bold == {(0, 1), (2, 1)}
    assert table.rules == (2,)
    assert table.intervals[0, 5] == pytest.approx((0.19, 0.21))
    assert table.caption.endswith("The original has loss 0.900, MC 80.0")
