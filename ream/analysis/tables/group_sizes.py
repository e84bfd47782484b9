"""Group sizes as a table: the numbers of figure 1a."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from ream.analysis.results.methods import method_place
from ream.analysis.tables.table import Column, Table


def table_of_sizes(sizes: Mapping[str, Int64[np.ndarray, "L K"]], experts: int) -> Table:
    """The mean, smallest and largest size over the layers of the largest group, the second largest and so on.

    Args:
        sizes: method to `group_sizes`, all at one number of kept experts.
        experts: that number.
    """
    lines = [
        (method, place + 1, float(column.mean()), int(column.min()), int(column.max()))
        for method in sorted(sizes, key=method_place)
        for place, column in enumerate(sizes[method].T)
    ]
    columns = (Column("method"), Column("group"), Column("mean size", 2), Column("smallest"), Column("largest"))
    caption = f"Experts in each group, by size, over the layers; {experts} experts"
    return Table(f"table-group-sizes-{experts}", caption, columns, tuple(lines))
