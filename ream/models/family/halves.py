"""Two tensors of transformers' layer that lie in one on disk: gate and up projections one above the other (Inkling)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Half:
    """Where one of the two lies.

    Attributes:
        stored: name within a layer on disk.
        axis: along which the two lie.
        second: whether it is the second of the two.
        alternating: whether their rows alternate.
    """

    stored: str
    axis: int
    second: bool
    alternating: bool

    def of(self, tensor: "Tensor") -> "Tensor":
        """The half of the tensor on disk."""
        rows = tensor.movedim(self.axis, 0)
        half = rows[int(self.second) :: 2] if self.alternating else rows.chunk(2)[int(self.second)]
        return half.movedim(0, self.axis).contiguous()

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the tensor on disk, of a half's."""
        return (*shape[: self.axis], 2 * shape[self.axis], *shape[self.axis + 1 :])
