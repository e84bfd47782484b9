"""Group sizes as a table: the numbers of figure 1a."""

from collections.abc import Mapping
from itertools import groupby

import numpy as np
from jaxtyping import Int64

from ream.analysis.results.methods import method_place
from ream.analysis.tables.table import Column, Table, Value


def table_of_sizes(sizes: Mapping[str, Int64[np.ndarray, "L K"]], experts: int) -> Table:
    """The mean, smallest and largest size over the layers of the largest group, the second largest and so on.

    Successive groups with the same three numbers share a row: "3 to 24".

    Args:
        sizes: method to `group_sizes`, all at one number of kept experts.
        experts: that number.
    """
    lines: list[tuple[Value, ...]] = []
    for method in sorted(sizes, key=method_place):
        columns = [(float(size.mean()), int(size.min()), int(size.max())) for size in sizes[method].T]
        first = 1
        for numbers, equal in groupby(columns):
            last = first + len(list(equal)) - 1
            lines.append((method, f"{first}" if first == last else f"{first} to {last}", *numbers))
            first = last + 1
    names = (Column("method"), Column("groups"), Column("mean size", 2), Column("smallest"), Column("largest"))
    caption = f"Experts in each group, by size, over the layers; {experts} experts"
    return Table(f"table-group-sizes-{experts}", caption, names, tuple(lines))
