"""Figure 1a: how many experts each method puts into its groups."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from ream.analysis.figures.style import panels, styles
from ream.analysis.tables.table import Column, Table
from ream.core.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def group_sizes(recipe: Recipe) -> Int64[np.ndarray, "L K"]:
    """Experts in each group, the centroid among them, in decreasing order in each layer; dropped experts are in none.

    Raises:
        ValueError: the recipe has no layers, or layers that keep different numbers of experts.
    """
    kept = {len(layer.groups.kept) for layer in recipe.layers.values()}
    if len(kept) != 1:
        raise ValueError("group sizes need layers that keep one number of experts")
    sizes = [
        np.sort(np.bincount(layer.groups.group[layer.groups.group >= 0], minlength=len(layer.groups.kept)))[::-1]
        for _, layer in sorted(recipe.layers.items())
    ]
    return np.stack(sizes).astype(np.int64)


def table_of_sizes(sizes: Mapping[str, Int64[np.ndarray, "L K"]]) -> Table:
    """What figure 1a shows: for each place, the mean, smallest and largest size over the layers."""
    lines = [
        (method, place + 1, float(column.mean()), int(column.min()), int(column.max()))
        for method in styles(sizes)
        for place, column in enumerate(sizes[method].T)
    ]
    columns = (Column("method"), Column("group"), Column("mean size", 2), Column("smallest"), Column("largest"))
    return Table("table-group-sizes", "Experts in each group, by size, over the layers", columns, tuple(lines))


def size_curves(sizes: Mapping[str, Int64[np.ndarray, "L K"]]) -> "Figure":
    """Figure 1a: size of the largest group, the second largest and so on: a line a method, the mean over the layers.

    A band reaches from the smallest to the largest of the layers. Methods that only drop experts share the line at 1.

    Args:
        sizes: method to `group_sizes`, all at one number of kept experts.

    Raises:
        ValueError: no sizes, or of different numbers of experts.
    """
    from matplotlib.ticker import MaxNLocator

    if len({of_method.shape[1] for of_method in sizes.values()}) != 1:
        raise ValueError("group sizes compare at one number of experts")
    look = styles(sizes)
    figure, (axis,) = panels(1, 3.2)
    for method, style in look.items():
        of_method = sizes[method]
        place = np.arange(1, of_method.shape[1] + 1)
        axis.fill_between(
            place, of_method.min(axis=0), of_method.max(axis=0), color=style.colour, alpha=0.15, linewidth=0
        )
        axis.plot(place, of_method.mean(axis=0), label=method, color=style.colour, marker=style.marker, markersize=4,
                  markevery=max(1, len(place) // 12), linewidth=1.4)  # fmt: skip
    axis.set_yscale("log", base=2)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("group, by size")
    axis.set_ylabel("experts in the group")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
