"""The expert that was computed last, kept because its tensors are asked for one after the other."""

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

from ream.core.experts import Expert

T = TypeVar("T")


class Slot(Generic[T]):
    """One value and the (layer, position) for which it was computed."""

    def __init__(self) -> None:
        """Start empty."""
        self._key: tuple[int, int] | None = None
        self._value: T | None = None

    def get(self, key: tuple[int, int], make: Callable[[], T]) -> T:
        """Return the value for a layer and position: the stored one, or a new one that replaces it.

        The old value is released before the new one is computed, so that two are never in memory.
        """
        if self._value is None or key != self._key:
            self._key = self._value = None
            self._value = make()
            self._key = key
        return self._value


class Latest:
    """The last kept expert in three forms.

    The tensors of an expert usually lie next to each other in a shard, so they are made from one merge; of stacked
    tensors, each has every expert merged for it. A whole checkpoint shares one instance, rather than one per layer: an
    expert of a large model takes 100 MB.

    Attributes:
        merged: the expert after merging and corrections.
        encoded: its tensors in the checkpoint's format: name in the layout to suffix to tensor.
        read_back: the expert as it is read back from those tensors.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.merged: Slot[Expert] = Slot()
        self.encoded: Slot[dict[str, dict[str, Tensor]]] = Slot()
        self.read_back: Slot[Expert] = Slot()
