"""The table of group sizes."""

import numpy as np

from ream.analysis.tables.group_sizes import table_of_sizes


def test_sizes_have_their_mean_and_range_over_the_layers():
    sizes = {"ream": np.array([[3, 1, 1], [5, 2, 1]]), "reap": np.ones((2, 3), dtype=int)}
    assert table_of_sizes(sizes, 3).rows == (
        ("reap", "1 to 3", 1.0, 1, 1),
        ("ream", "1", 4.0, 3, 5), ("ream", "2", 1.5, 1, 2), ("ream", "3", 1.0, 1, 1),
    )  # fmt: skip
    assert table_of_sizes(sizes, 3).name == "table-group-sizes-3"
    assert table_of_sizes(sizes, 3).caption.endswith("; 3 experts")
