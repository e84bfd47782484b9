"""Figure 1a."""

import numpy as np
import pytest

from ream.analysis.figures.group_sizes import size_curves
from tests.analysis.figures.drawn import data, line_of


def test_figure_1a_draws_mean_sizes_and_the_layers_range():
    sizes = {"ream": np.array([[3, 1, 1], [5, 2, 1]]), "reap": np.ones((2, 3), dtype=int)}
    axis = size_curves(sizes).axes[0]
    assert data(line_of(axis, "ream")) == [(1, 4.0), (2, 1.5), (3, 1.0)]
    assert data(line_of(axis, "reap")) == [(1, 1.0), (2, 1.0), (3, 1.0)]
    band = {tuple(point) for point in axis.collections[1].get_paths()[0].vertices.tolist()}
    assert band >= {(1.0, 3.0), (1.0, 5.0), (2.0, 1.0), (2.0, 2.0), (3.0, 1.0)}
    with pytest.raises(ValueError, match="one number of experts"):
        size_curves({"a": np.ones((1, 2), dtype=int), "b": np.ones((1, 3), dtype=int)})
