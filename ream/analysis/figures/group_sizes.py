"""Figure 1a: how many experts each method puts into its groups."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from ream.analysis.figures.style import panels, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def size_curves(sizes: Mapping[str, Int64[np.ndarray, "L K"]], among: Iterable[str] = ()) -> "Figure":
    """Figure 1a: size of the largest group, the second largest and so on, a line per method, the mean over the layers.

    A band reaches from the smallest to the largest of the layers. Methods that only drop experts share the line at 1.

    Args:
        sizes: method to `group_sizes`, all at one number of kept experts.
        among: all methods of the report (`styles`).

    Raises:
        ValueError: there are no sizes, or they are of different numbers of experts.
    """
    from matplotlib.ticker import MaxNLocator

    if len({of_method.shape[1] for of_method in sizes.values()}) != 1:
        raise ValueError("group sizes compare at one number of experts")
    figure, (axis,) = panels(1, 2.2)
    for method, style in styles(sizes, among).items():
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
