"""The figure of held-out losses."""

from ream.analysis.figures.held_out_loss import overview
from ream.analysis.figures.style import styles
from ream.evaluation.scores import Cell
from tests.analysis.figures.drawn import data, line_of


def test_the_overview_draws_a_line_from_the_original_in_the_methods_colour():
    cells = [Cell(mix=None, method=None, experts=8, parameters=9_000_000, gen=60.0)]
    cells += [Cell(mix="even", method=method, experts=size, parameters=size * 1_000_000, gen=10.0 * size + shift)
              for method, shift in (("reap", 0), ("ream", 1)) for size in (4, 2)]  # fmt: skip
    (axis,) = overview(cells).axes  # GEN alone is known
    assert data(line_of(axis, "ream")) == [(2, 21), (4, 41), (9, 60)]
    assert data(line_of(axis, "original")) == [(9, 60)]
    assert {method: line_of(axis, method).get_color() for method in ("ream", "reap")} == {
        method: style.colour for method, style in styles(["reap", "ream"]).items()
    }
