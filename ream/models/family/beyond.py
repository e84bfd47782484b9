"""Rows of routers behind the experts' that give logits and can be selected, but stand for no expert.

LongCat-Flash's stand for the identity: a token that selects one adds its own hidden state, times the weight. Zaya's
stands for skipping: a token that selects it is handed to the first expert with weight 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Beyond:
    """What such rows stand for.

    Attributes:
        rows: number of them.
        identity: whether the experts module answers for them with its input, times the weight; else with nothing.
        masked: whether the block hands a selected one to its experts as expert 0 with weight 0; else by its number.
    """

    rows: int
    identity: bool = False
    masked: bool = False

    def experts(self, weights: "Tensor", indices: "Tensor", count: int) -> "Tensor":
        """Indices [T, k] of selected experts, with N where none was selected.

        Args:
            weights: [T, k] that the block hands to its experts.
            indices: [T, k] likewise.
            count: N.
        """
        none = indices >= count
        if self.masked:
            none = none | ((indices == 0) & (weights == 0))
        return indices.masked_fill(none, count)

    def added(self, x: "Tensor", others: Sequence[object], count: int) -> "Tensor | None":
        """What the experts module answers for these rows [T, H]; None for nothing.

        Args:
            x: [T, H] inputs of the experts.
            others: what the module is given beside them, the indices and the weights among it.
            count: N.
        """
        if not self.identity:
            return None
        tensors: list[Any] = [value for value in others if hasattr(value, "is_floating_point")]
        indices = next(value for value in tensors if not value.is_floating_point())
        weights = next(value for value in tensors if value.is_floating_point() and value.shape == indices.shape)
        factors = (weights * (indices >= count)).sum(-1, keepdim=True)
        output: Tensor = (x.reshape(len(factors), -1) * factors).to(x).reshape(x.shape)
        return output
